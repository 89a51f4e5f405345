"""Models on the same images: numbers worked by hand, and statsmodels."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar

from fmnist_jax import stats


def test_cochran_by_hand():
    # Right: 5, 3, 1 of 6, 9 in all; by image 2, 1, 3, 0, 2, 1. Q = 2 (3 * 35 - 81) / (3 * 9 - 19) = 6; p = exp(-6 / 2).
    correct = np.array([[1, 1, 1, 0, 1, 1], [1, 0, 1, 0, 1, 0], [0, 0, 1, 0, 0, 0]], bool)
    assert stats.cochran_q(correct) == pytest.approx((6, math.exp(-3)))


def test_cochran_of_two_is_mcnemar():
    """Without continuity correction: (n01 - n10)^2 / (n01 + n10)."""
    a, b = np.random.default_rng(0).random((2, 400)) < [[0.9], [0.85]]
    n01, n10, _ = stats.mcnemar(a, b)
    assert stats.cochran_q([a, b])[0] == pytest.approx((n01 - n10) ** 2 / (n01 + n10))


def test_mcnemar_by_hand():
    # 2 against 8 of 10 that differ: 2 (1 + 10 + 45) / 1024.
    a, b = np.ones(14, bool), np.ones(14, bool)
    a[:2], b[2:10] = False, False
    assert stats.mcnemar(a, b) == (2, 8, pytest.approx(2 * 56 / 1024))
    assert stats.mcnemar(b, a) == (8, 2, pytest.approx(2 * 56 / 1024))


def test_mcnemar_as_statsmodels():
    a, b = np.random.default_rng(1).random((2, 10_000)) < [[0.90], [0.91]]
    n01, n10, p = stats.mcnemar(a, b)
    assert p == pytest.approx(mcnemar([[0, n01], [n10, 0]]).pvalue)


def test_models_alike():
    alike = np.array([True, False, True])
    assert stats.cochran_q([alike] * 3) == (0, 1)
    assert stats.cochran_q(np.ones((2, 5), bool)) == (0, 1)
    assert stats.mcnemar(alike, alike) == (0, 0, 1)
    with pytest.raises(ValueError, match="2 or more"):
        stats.cochran_q([alike])


def test_equal_models_are_seldom_told_apart():
    rng = np.random.default_rng(0)
    hard = rng.random((2000, 1, 300)) * 0.3
    correct = rng.random((2000, 4, 300)) > hard
    assert np.mean([stats.cochran_q(c)[1] < 0.05 for c in correct]) <= 0.055
    assert np.mean([stats.mcnemar(c[0], c[1]).p < 0.05 for c in correct]) <= 0.055


def test_chi_squared_is_what_it_says():
    correct = np.random.default_rng(0).random((5, 200)) > 0.2
    statistic, p = stats.cochran_q(correct)
    assert p == pytest.approx(scipy_stats.chi2.sf(statistic, 4))
