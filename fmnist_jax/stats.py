"""Statistics of repeats; NumPy and SciPy only."""

from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean over n repeats with its spread."""

    n: int
    mean: float
    sd: float  # sample standard deviation (n - 1); NaN for n = 1
    low: float  # t interval of the mean; NaN for n = 1
    high: float


def mean_interval(values, confidence: float = 0.95) -> Interval:
    """Mean, sample standard deviation and Student's t interval of the finite entries of `values` [n].

    mean ± t(1 - (1 - confidence) / 2, n - 1) * sd / sqrt(n). Entries that are not finite (diverged runs) do not count.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    n = len(values)
    if n == 0:
        return Interval(0, np.nan, np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if n == 1:
        return Interval(1, mean, np.nan, np.nan, np.nan)
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd / np.sqrt(n)
    return Interval(n, mean, sd, mean - half, mean + half)
