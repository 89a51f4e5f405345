"""Whether one arm's repeats scatter more than another's, and whether as a normal distribution does."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from fmnist_jax.stats.intervals import finite


class SpreadRatio(NamedTuple):
    """log(sd of a / sd of b), natural; its interval and the test that it is 0."""

    n: int  # of both together
    mean: float
    low: float
    high: float
    p: float  # two-sided


def brown_forsythe(a, b) -> float:
    """p that independent samples `a`, `b` scatter alike: Levene's test about the medians (Brown & Forsythe 1974).

    Needs no normal noise, and for that is blind in small samples: with 5 values a side it errs in 0.6% of studies where
    5% are allowed. NaN for fewer than 3 values a side, or where the deviations do not vary within either.
    """
    a, b = finite(a), finite(b)
    if min(len(a), len(b)) < 3:
        return np.nan
    if all(np.ptp(np.abs(v - np.median(v))) == 0 for v in (a, b)):
        return np.nan
    return float(stats.levene(a, b, center="median").pvalue)


def log_sd_ratio(a, b, confidence: float = 0.95) -> SpreadRatio:
    """log(sd(a) / sd(b)) of independent samples `a`, `b`, by the F distribution with degrees of freedom for the tails.

    Shoemaker 2003 (The American Statistician 57:105), F1: n - 1 becomes 2 n / (k - (n - 3) / (n - 1)), k the pooled
    kurtosis; here never more than n - 1, so that no verdict is bolder than the plain F test's. That one counts heavy
    tails as a difference, the more surely the more values there are. False verdicts at 5%, two samples of n alike
    (tests/test_stats_compare.py measures the first two rows anew):

        n                            5      10     30
        normal noise, this           0.03   0.04   0.04
        Student's t(5) noise, this   0.04   0.04   0.04
        normal noise, plain F        0.05   0.05   0.05
        Student's t(5) noise, F      0.09   0.13   0.17

    Runs that share a seed are not quite independent, which makes it more cautious. NaN for fewer than 3 values a side
    or a side without spread.
    """
    a, b = finite(a), finite(b)
    n = len(a) + len(b)
    if min(len(a), len(b)) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return SpreadRatio(n, *[np.nan] * 4)
    deviations = np.concatenate([a - a.mean(), b - b.mean()])
    kurtosis = n * (deviations**4).sum() / (deviations**2).sum() ** 2
    df = [min(2 * m / (kurtosis - (m - 3) / (m - 1)), m - 1) for m in (len(a), len(b))]
    ratio = a.var(ddof=1) / b.var(ddof=1)
    low, high = ratio / stats.f.ppf([(1 + confidence) / 2, (1 - confidence) / 2], *df)
    p = min(1.0, 2 * min(stats.f.sf(ratio, *df), stats.f.cdf(ratio, *df)))
    return SpreadRatio(n, float(np.log(ratio) / 2), float(np.log(low) / 2), float(np.log(high) / 2), float(p))


def shapiro_wilk(values) -> float:
    """p that a sample is of a normal distribution (Shapiro & Wilk 1965); NaN of fewer than 3 values, or all alike."""
    values = finite(values)
    return float(stats.shapiro(values).pvalue) if len(values) >= 3 and np.ptp(values) > 0 else np.nan
