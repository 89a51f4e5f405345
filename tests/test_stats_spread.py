"""Spread against spread: worked by hand, as SciPy has it, and false verdicts under heavy tails."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from fmnist_jax import stats


def test_log_sd_ratio_by_hand():
    # Pooled kurtosis 6 * 34 / 10^2 = 2.04 gives 2.94 degrees of freedom: 2 it stays. F(2, 2): P(F > x) = 1 / (1 + x).
    got = stats.log_sd_ratio([-2, 0, 2], [4, 5, 6])
    assert got.n == 6
    assert got[1:] == pytest.approx((np.log(2), np.log(4 / 39) / 2, np.log(4 * 39) / 2, 0.4))


def test_log_sd_ratio_heeds_tails():
    """One far value is a tail, not a spread: fewer degrees of freedom, by Shoemaker's formula, than the F test has."""
    a, b = [0, 1, -1, 2, -2, 30], [0, 1, -1, 2, -2, 3]
    got = stats.log_sd_ratio(a, b)
    a, b = np.array(a) - 5.0, np.array(b) - 0.5
    kurtosis = 12 * (np.sum(a**4) + np.sum(b**4)) / (np.sum(a**2) + np.sum(b**2)) ** 2
    df = 12 / (kurtosis - 3 / 5)
    assert df < 3
    assert got.p == pytest.approx(2 * scipy_stats.f.sf(a.var() / b.var(), df, df))
    assert got.p > 2 * scipy_stats.f.sf(a.var() / b.var(), 5, 5)


def test_log_sd_ratio_turned_round():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=6), rng.normal(0, 5, 9)
    got, turned = stats.log_sd_ratio(a, b), stats.log_sd_ratio(3 * b, 3 * a)
    assert turned == pytest.approx((15, -got.mean, -got.high, -got.low, got.p))


@pytest.mark.parametrize("noise", ["normal", "t5"])
@pytest.mark.parametrize("n", [5, 10, 30])
def test_spreads_alike_are_called_alike(noise, n):
    rng = np.random.default_rng(n)
    draw = {"normal": rng.normal, "t5": lambda size: rng.standard_t(5, size)}[noise]
    pairs = draw(size=(1000, 2, n))
    found = [stats.log_sd_ratio(a, b) for a, b in pairs]
    assert np.mean([f.p < 0.05 for f in found]) <= 0.055
    assert all((f.p < 0.05) == (f.low > 0 or f.high < 0) for f in found)
    assert np.mean([stats.brown_forsythe(a, b) < 0.05 for a, b in pairs[:500]]) <= 0.06


def test_a_tenfold_spread_is_found():
    rng = np.random.default_rng(0)
    assert np.mean([stats.log_sd_ratio(rng.normal(0, 10, 5), rng.normal(size=5)).p < 0.05 for _ in range(300)]) > 0.85


def test_brown_forsythe_is_anova_of_deviations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=8), rng.normal(0, 2, 11)
    want = scipy_stats.f_oneway(abs(a - np.median(a)), abs(b - np.median(b))).pvalue
    assert stats.brown_forsythe(np.append(a, np.nan), b) == pytest.approx(want)


def test_nothing_to_judge_spread_by():
    for a, b in (([1, 2], [1, 2, 3]), ([1, 1, 1], [1, 1, 1]), ([1, 1, 5, 5], [2, 2, 9, 9])):
        assert np.isnan(stats.brown_forsythe(a, b))
    for a, b in (([1, 2], [1, 2, 3]), ([1, 1, 1], [1, 2, 3])):
        assert np.isnan(stats.log_sd_ratio(a, b)[1:]).all()


def test_normal_samples_pass_for_normal_and_two_heaps_do_not():
    rng = np.random.default_rng(0)
    told = np.mean([stats.shapiro_wilk(rng.normal(size=10)) < 0.01 for _ in range(1000)])
    assert told == pytest.approx(0.01, abs=0.008)
    assert stats.shapiro_wilk([0.1] * 8 + [0.7, 0.75, 0.8, 0.78, 0.72]) < 0.01
    assert np.isnan([stats.shapiro_wilk(values) for values in ([1, 2], [1, 1, 1], [1, np.nan, 2])]).all()
