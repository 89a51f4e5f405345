"""Correlations: acosta's Table 2 from its Table 1, SciPy, and numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from fmnist_jax import stats

# Acosta et al., Table 1: convolutional layers, filters in layer 1, in layer 2 (0 where absent), hidden units, accuracy.
ACOSTA = np.array(
    [
        (1, 32, 0, 256, 0.815),
        (1, 32, 0, 512, 0.853),
        (1, 32, 0, 1024, 0.869),
        (1, 64, 0, 256, 0.842),
        (1, 64, 0, 512, 0.870),
        (1, 64, 0, 1024, 0.918),
        (2, 32, 32, 256, 0.623),
        (2, 32, 32, 512, 0.682),
        (2, 32, 32, 1024, 0.731),
        (2, 64, 64, 256, 0.702),
        (2, 64, 64, 512, 0.722),
        (2, 64, 64, 1024, 0.771),
    ]
)


def test_acosta_table_2():
    *factors, accuracy = ACOSTA.T
    got = [stats.pearson(factor, accuracy).r for factor in factors]
    assert [round(r, 2) for r in got] == [-0.89, 0.24, -0.72, 0.35]
    assert got == pytest.approx([-0.893, 0.240, -0.716, 0.354], abs=5e-4)


def test_pearson_as_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=15)
    y = x + rng.normal(size=15)
    want = scipy_stats.pearsonr(x, y)
    got = stats.pearson(np.append(x, np.nan), np.append(y, 1.0), confidence=0.9)
    assert got == pytest.approx((15, want.statistic, *want.confidence_interval(0.9), want.pvalue))


def test_spearman_by_hand():
    # 1 2 4 3 against 1 2 3 4: 1 - 6 * 2 / (4 * 15) = 0.8; as far off are 4 orders of 24 upwards, 4 downwards.
    got = stats.spearman([1, 2, 3, 4], [10, 20, 40, 30])
    assert (got.r, got.p) == pytest.approx((0.8, 1 / 3))
    half = 1.959963985 * np.sqrt(1.32 / 1)
    assert (got.low, got.high) == pytest.approx((np.tanh(np.arctanh(0.8) - half), np.tanh(np.arctanh(0.8) + half)))
    got = stats.spearman([1, 2, 3], [1, 4, 9])
    assert (got.r, got.p) == pytest.approx((1, 1 / 3))
    assert np.isnan([got.low, got.high]).all()


@pytest.mark.parametrize("n", [5, 7])
def test_spearman_as_scipy_by_permutation(n):
    rng = np.random.default_rng(n)
    x, y = rng.integers(0, 4, n), rng.normal(size=n)
    want = scipy_stats.permutation_test(
        (x,), lambda x: scipy_stats.spearmanr(x, y).statistic, permutation_type="pairings", n_resamples=np.inf
    )
    got = stats.spearman(x, y)
    assert (got.r, got.p) == pytest.approx((want.statistic, want.pvalue))


def test_spearman_as_scipy_beyond():
    x, y = np.random.default_rng(0).normal(size=(2, 12))
    got, want = stats.spearman(x, y), scipy_stats.spearmanr(x, y)
    assert (got.r, got.p) == pytest.approx((want.statistic, want.pvalue))


def test_nothing_to_correlate():
    for correlate in (stats.pearson, stats.spearman):
        for x, y in (([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2], [1, 2]), ([0.1] * 5, np.arange(5)), ([], [])):
            assert np.isnan(correlate(x, y)[1:]).all()
    assert stats.pearson([1, 2, 3], [1, 2, 4])[2:4] == (-1, 1)
    assert stats.pearson([1, 2, 3, 4], [2, 4, 6, 8])[1:4] == pytest.approx((1, 1, 1))


def test_correlations_cover():
    """Of 12 pairs: intervals hold a correlation of 0.6 in 94 (Spearman: 93) of 100; none is found in 5.5% at most."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 2000, 12))
    y = 0.6 * x + 0.8 * noise
    true_rank = 6 / np.pi * np.arcsin(0.3)  # Spearman's for a normal pair
    pearson = [stats.pearson(*pair) for pair in zip(x, y, strict=True)]
    spearman = [stats.spearman(*pair) for pair in zip(x, y, strict=True)]
    assert 0.94 <= np.mean([c.low <= 0.6 <= c.high for c in pearson]) <= 0.96
    assert 0.93 <= np.mean([c.low <= true_rank <= c.high for c in spearman if abs(c.r) < 1]) <= 0.97
    assert np.mean([stats.pearson(*pair).p < 0.05 for pair in zip(x, noise, strict=True)]) <= 0.055


def test_spearman_of_six_is_not_bold():
    rng = np.random.default_rng(0)
    assert np.mean([stats.spearman(*rng.normal(size=(2, 6))).p <= 0.05 for _ in range(2000)]) <= 0.055


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=4, max_size=12), st.integers(-50, 50))
@settings(max_examples=60, deadline=None)
def test_units_and_order_of_arguments_change_nothing(pairs, shift):
    x, y = np.array(pairs, float).T
    for correlate in (stats.pearson, stats.spearman):
        got = correlate(x, y)
        assert correlate(3 * x + shift, y) == pytest.approx(got, nan_ok=True, abs=1e-6)
        assert correlate(y, x) == pytest.approx(got, nan_ok=True, abs=1e-6)
        assert correlate(-x, y)[1:4] == pytest.approx((-got.r, -got.high, -got.low), nan_ok=True, abs=1e-6)
