"""How two columns go together."""

import functools
import itertools
from typing import NamedTuple

import numpy as np
from scipy import special, stats

EXACT = 8  # up to so many pairs, all 8! orders are counted


class Correlation(NamedTuple):
    """A correlation coefficient over n pairs, its interval and the test that there is none."""

    n: int
    r: float
    low: float
    high: float
    p: float  # two-sided


def pearson(x, y, confidence: float = 0.95) -> Correlation:
    """Pearson's r of the pairs of `x`, `y` [n] that are both finite; the interval by Fisher's z, se 1 / sqrt(n - 3).

    `scipy.stats.pearsonr`. NaN where either does not vary or n < 3; for n = 3 the interval is all there is, -1 to 1.
    """
    x, y = _pairs(x, y)
    if not _vary(x, y):
        return Correlation(len(x), *[np.nan] * 4)
    found = stats.pearsonr(x, y)
    # SciPy's interval warns at |r| = 1; Fisher's has the limit (r, r) there.
    low, high = _fisher(float(found.statistic), 1.0, len(x), confidence)
    return Correlation(len(x), float(found.statistic), low, high, float(found.pvalue))


def spearman(x, y, confidence: float = 0.95) -> Correlation:
    """Spearman's rank correlation of the pairs of `x`, `y` [n] that are both finite; ties share their mean rank.

    The interval is Fisher's z with se sqrt((1 + r^2 / 2) / (n - 3)) (Bonett & Wright 2000, Psychometrika 65:23), sound
    for n of 10 and more and |r| under 0.95; NaN for |r| = 1, which a few pairs reach by chance. p is exact, over all
    orders, up to n = 8 (`scipy.stats.spearmanr` says 0 for three pairs in order, where it is 1/3), SciPy's beyond. NaN
    where either does not vary or n < 3.
    """
    x, y = _pairs(x, y)
    n = len(x)
    if not _vary(x, y):
        return Correlation(n, *[np.nan] * 4)
    found = stats.spearmanr(x, y)
    r = float(found.statistic)
    p = _exact_p(stats.rankdata(x), stats.rankdata(y)) if n <= EXACT else float(found.pvalue)
    if abs(r) > 1 - 1e-12:
        return Correlation(n, r, np.nan, np.nan, p)
    return Correlation(n, r, *_fisher(r, 1 + r**2 / 2, n, confidence), p)


def _pairs(x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _vary(x, y):
    # The rule by which SciPy warns: spread lost in rounding.
    return len(x) >= 3 and all(np.ptp(v) > 1e-13 * np.abs(v).max() for v in (x, y))


def _fisher(r, factor, n, confidence):
    if n <= 3:
        return -1.0, 1.0
    if abs(r) >= 1:
        return r, r
    half = special.ndtri((1 + confidence) / 2) * np.sqrt(factor / (n - 3))
    return float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def _exact_p(x, y):
    """The share of the orders of `y` that correlate with `x`, both ranks [n], as much as this one."""
    x, y = x - x.mean(), y - y.mean()
    return float(np.mean(np.abs(y[_orders(len(y))] @ x) >= abs(y @ x) - 1e-9))


@functools.cache
def _orders(n):
    return np.array(list(itertools.permutations(range(n))))
