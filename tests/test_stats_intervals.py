"""Means and intervals against numbers worked by hand and SciPy; how often they hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from fmnist_jax import stats


def test_by_hand():
    # 1, 2, 3, 4: mean 2.5, sd sqrt(5/3), t(0.975, 3) = 3.182446
    got = stats.mean_interval([1, 2, 3, 4])
    half = 3.182446305 * np.sqrt(5 / 3) / 2
    assert got.n == 4
    assert got[1:] == pytest.approx((2.5, np.sqrt(5 / 3), 2.5 - half, 2.5 + half))


def test_as_scipy():
    values = np.random.default_rng(0).normal(size=7)
    got = stats.mean_interval(values, 0.9)
    low, high = scipy_stats.t.interval(0.9, 6, values.mean(), scipy_stats.sem(values))
    assert (got.low, got.high) == pytest.approx((low, high))


def test_one_none_and_not_finite():
    assert stats.mean_interval([2.0])[:2] == (1, 2.0)
    assert np.isnan(stats.mean_interval([2.0])[2:]).all()
    assert stats.mean_interval([]).n == 0
    assert stats.mean_interval([1, np.nan, 3, np.inf]).n == 2


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_intervals_cover(n):
    """2,000 simulated studies of n repeats: the 95% interval holds the true mean in 94 to 96 of 100."""
    rng = np.random.default_rng(n)
    covered = [(i := stats.mean_interval(rng.normal(size=n))).low <= 0 <= i.high for _ in range(2000)]
    assert 0.94 <= np.mean(covered) <= 0.96


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([8, 1, 2, 3, 4, 5, 6, 7], 4.5),  # 3, 4, 5, 6 are left
        ([0, 1, 2, 100], 1.5),
        ([0, 1, 2, 3, 100], 2.0),  # floor(5 / 4) = 1 from either end
        ([1, 2, 6], 3.0),
        ([1, 2, np.nan, 6, np.inf], 3.0),
    ],
)
def test_interquartile_mean_by_hand(values, want):
    assert stats.interquartile_mean(values) == want


def test_interquartile_mean_of_nothing():
    assert np.isnan(stats.interquartile_mean([np.nan]))


# Measured over 40,000 studies; the docstring of bca_interval has them.
BCA_COVERAGE = {3: 0.72, 5: 0.84, 10: 0.90, 30: 0.93}


@pytest.mark.parametrize(("n", "want"), BCA_COVERAGE.items())
def test_bca_covers_as_little_as_the_docs_say(n, want):
    rng = np.random.default_rng(0)
    intervals = np.concatenate([stats.bca_means(rng.normal(size=(500, n)), rng) for _ in range(10)])
    covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
    assert covered == pytest.approx(want, abs=0.015)
    assert f"{want:.2f}" in stats.bca_interval.__doc__


def test_bca_of_two_values_by_hand():
    # Resampled means: 0 (1/4), 0.5 (1/2), 1 (1/4); no bias, no skew: the 2.5% and 97.5% points are the ends.
    rng = np.random.default_rng(0)
    assert stats.bca_interval([0, 1], rng) == (0, 1)
    assert stats.bca_means([[0, 1]], rng).tolist() == [[0, 1]]


@pytest.mark.parametrize("n", [8, 10, 40])
def test_bca_means_is_bca_interval(n):
    """But for the resamples drawn, whose error in the 80% interval is a twentieth of a standard error or so."""
    rng = np.random.default_rng(n)
    table = rng.exponential(size=(4, n))
    many = stats.bca_means(table, rng, confidence=0.8, resamples=20_000)
    for row, got in zip(table, many, strict=True):
        one = stats.bca_interval(row, rng, confidence=0.8, resamples=20_000)
        assert got == pytest.approx(one, abs=0.15 * row.std() / np.sqrt(n))


def test_bca_corrects_for_skew():
    """The interval of an exponential sample's mean reaches further up than down, more than the percentiles do."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=20)
    low, high = stats.bca_interval(values, rng)
    plain = scipy_stats.bootstrap((values,), np.mean, method="percentile", rng=rng).confidence_interval
    assert low > plain.low
    assert high > plain.high


def test_bca_without_spread():
    rng = np.random.default_rng(0)
    assert np.isnan(stats.bca_interval([1.0, np.nan], rng)).all()
    assert stats.bca_interval([0.1, 0.1, 0.1], rng) == pytest.approx((0.1, 0.1), rel=1e-15)
    assert stats.bca_interval([2.0, 2.0], rng, np.std) == (0, 0)
    got = stats.bca_means([[np.nan, 1, np.nan], [0.1] * 3, [np.nan] * 3, [1, np.nan, 3]], rng)
    assert np.isnan(got[[0, 2]]).all()
    assert got[1].tolist() == pytest.approx([0.1, 0.1], rel=1e-15)
    assert got[3].tolist() == [1, 3]
    assert stats.bca_means(np.empty((0, 3)), rng).shape == (0, 2)


def test_bca_of_another_statistic():
    rng = np.random.default_rng(0)
    values = rng.normal(size=12)
    low, high = stats.bca_interval(values, rng, stats.interquartile_mean, resamples=500)
    assert low < stats.interquartile_mean(values) < high


def test_bca_repeats_with_its_generator():
    values = np.random.default_rng(0).normal(size=(3, 6))
    first, again = (stats.bca_means(values, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, again)
    first, again = (stats.bca_interval(values[0], np.random.default_rng(7)) for _ in range(2))
    assert first == again


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8), st.integers(-100, 100), st.sampled_from([0.5, 2.0, 8.0]))
@settings(max_examples=50, deadline=None)
def test_intervals_shift_and_scale(values, shift, scale):
    values = np.array(values, float)
    moved = scale * values + shift
    for interval in (
        lambda v: np.array(stats.mean_interval(v)[3:]),
        lambda v: stats.bca_means([v], np.random.default_rng(0), resamples=200)[0],
    ):
        assert interval(moved) == pytest.approx(scale * interval(values) + shift, abs=1e-6)


def test_prediction_interval_by_hand():
    low, high = stats.prediction_interval([0.90, 0.92, 0.94, np.nan])
    half = 4.302653 * 0.02 * np.sqrt(1 + 1 / 3)
    np.testing.assert_allclose([low, high], [0.92 - half, 0.92 + half], rtol=1e-6)
    assert np.isnan(stats.prediction_interval([0.9])).all()


def test_one_more_value_falls_into_the_prediction_interval_as_often_as_it_says():
    drawn = np.random.default_rng(0).normal(size=(4000, 5))
    held = [low <= row[4] <= high for row in drawn for low, high in [stats.prediction_interval(row[:4])]]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)
