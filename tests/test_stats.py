"""Means and intervals against numbers worked by hand and SciPy."""

import numpy as np
import pytest
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


def test_intervals_cover():
    """2,000 simulated studies of 4 repeats: the 95% interval holds the true mean in 94 to 96 of 100."""
    rng = np.random.default_rng(1)
    covered = [(i := stats.mean_interval(rng.normal(size=4))).low <= 0 <= i.high for _ in range(2000)]
    assert 0.94 <= np.mean(covered) <= 0.96
