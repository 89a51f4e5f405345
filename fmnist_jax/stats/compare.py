"""Is one arm better than another: differences, equivalence, many comparisons at once, and how many seeds it takes."""

import bisect
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from fmnist_jax.stats.intervals import finite

# Differences that agree to nine digits differ by rounding alone, and rounding says nothing about spread.
SAME = 1e-9


class Difference(NamedTuple):
    """A mean difference, its interval and the test that it is `null`."""

    n: int
    mean: float
    sd: float
    low: float
    high: float
    effect_size: float  # in standard deviations, with Hedges' correction
    p: float  # two-sided


class Equivalence(NamedTuple):
    """Whether a mean difference lies within ± a margin; p is of the hypothesis that it does not."""

    n: int
    mean: float
    low: float  # the 1 - 2 alpha interval: within ± margin exactly where p < alpha
    high: float
    p: float


def paired_difference(differences, confidence: float = 0.95, null: float = 0.0) -> Difference:
    """Student's t test and interval of paired `differences` [n], say of two arms by seed. NaN is a missing pair.

    effect_size is Cohen's d_z, (mean - null) / sd, times Hedges' exact small-sample factor (Hedges 1981, eq. 6e); NaN
    for n = 2, where there is none.

    Fewer than two differences, or differences that are all the same, carry no information about spread: interval and
    effect_size are NaN and so is p, but for differences that all equal `null`, which speak against nothing: p = 1.
    """
    return _first(_differences([differences], 0, 0, confidence, null))


def corrected_resampled(
    differences, train_size: int, test_size: int, confidence: float = 0.95, null: float = 0.0
) -> Difference:
    """As `paired_difference`, for `differences` [J] over folds x repeats, whose training sets overlap.

    The variance of the mean is (1 / J + test_size / train_size) * sd^2, not sd^2 / J (Nadeau & Bengio 2003, Machine
    Learning 52:239; Bouckaert & Frank 2004 for repeats), with J - 1 degrees of freedom. Sizes are a fold's, in images.

    Raises:
      ValueError: a size under 1.
    """
    if train_size < 1 or test_size < 1:
        raise ValueError(f"train_size={train_size}, test_size={test_size}: both must be at least 1")
    return _first(_differences([differences], train_size, test_size, confidence, null))


def paired_differences(
    table, train_size: int = 0, test_size: int = 0, confidence: float = 0.95, null: float = 0.0
) -> pd.DataFrame:
    """`paired_difference` of every row of `table` [A, n], or `corrected_resampled` where sizes are given.

    Returns a frame of A rows with the fields of `Difference` as columns.
    """
    return pd.DataFrame(_differences(table, train_size, test_size, confidence, null))


def unpaired_difference(a, b, confidence: float = 0.95) -> Difference:
    """mean(a) - mean(b) of independent samples [n_a], [n_b], by Welch's test: the spreads may differ.

    n is n_a + n_b; sd is the pooled one, by which effect_size (Hedges' g, exact factor) is measured. Fewer than two
    values on a side: interval, effect_size and p NaN. No spread on either side: as in `paired_difference`.
    """
    a, b = finite(a), finite(b)
    n = len(a) + len(b)
    if not len(a) or not len(b):
        return Difference(n, *[np.nan] * 6)
    mean = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Difference(n, mean, *[np.nan] * 5)
    size = max(np.abs(a).max(), np.abs(b).max())
    if max(a.std(), b.std()) <= SAME * size:
        return Difference(n, mean, 0.0, np.nan, np.nan, np.nan, 1.0 if abs(mean) <= SAME * size else np.nan)
    errors = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    df = errors.sum() ** 2 / (errors**2 / [len(a) - 1, len(b) - 1]).sum()  # Welch 1947, Satterthwaite 1946
    low, high, p = _student(mean, np.sqrt(errors.sum()), df, confidence, 0.0)
    sd = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (n - 2))
    return Difference(n, mean, float(sd), float(low), float(high), float(_hedges(n - 2) * mean / sd), float(p))


def holm(p) -> np.ndarray:
    """p-values [m] adjusted for being many (Holm 1979): any below alpha is false in at most alpha of studies.

    NaN stay NaN and do not count. The family is all that was looked at: who compares k - 1 arms with the one that came
    out best has looked at all pairs for the widest. With p as they are, 12 equal arms of 5 seeds give a false verdict
    in 11% of studies, 50 arms in 21%. min(1, p * k / 2) makes Holm count the k (k - 1) / 2 pairs: then it is under 5%.
    """
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    # Two lines of our own: statsmodels' multipletests collects garbage at each call, 45 ms and more.
    order = np.argsort(p[known])
    steps = np.maximum.accumulate(p[known][order] * np.arange(len(order), 0, -1))
    adjusted[np.flatnonzero(known)[order]] = np.minimum(1, steps)
    return adjusted


def equivalence(
    differences, margin: float, train_size: int = 0, test_size: int = 0, confidence: float = 0.95
) -> Equivalence:
    """Two one-sided t tests (Schuirmann 1987) that the mean of `differences` [n] is within ± `margin`, in their units.

    p is the larger of the two; low and high the 1 - 2 alpha interval (90% for 0.95). With sizes the variance is that of
    `corrected_resampled`. No information about spread (see `paired_difference`): interval and p NaN.

    Raises:
      ValueError: a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin={margin}: must be positive")
    n, mean, sd = (column[0] for column in _moments([differences]))
    error = float(_standard_error(n, sd, train_size, test_size))
    low, high, _ = _student(mean, error, n - 1, 2 * confidence - 1, 0.0)
    p = max(stats.t.sf((mean + margin) / error, n - 1), stats.t.cdf((mean - margin) / error, n - 1))
    return Equivalence(int(n), float(mean), float(low), float(high), float(p))


def seeds_needed(
    sd_of_difference: float, difference: float, power: float = 0.8, alpha: float = 0.05, at_most: int = 100_000
) -> int | None:
    """The fewest paired repeats, 2 or more, at which a two-sided paired t test finds `difference` with `power`.

    Exact, by the noncentral t distribution. None where no number is known: a difference of 0 or NaN, a standard
    deviation that is not positive, or more repeats than `at_most`.
    """
    effect = abs(difference) / sd_of_difference if sd_of_difference > 0 else np.nan
    if not 0 < effect < np.inf:
        return None

    def reached(n):
        # What stats.nct and stats.t stand on, eight times faster: 5,000 arms ask. A far tail is NaN: nothing to add.
        limit, shift = special.stdtrit(n - 1, 1 - alpha / 2), effect * np.sqrt(n)
        return 1 - special.nctdtr(n - 1, shift, limit) + np.nan_to_num(special.nctdtr(n - 1, shift, -limit))

    upper = 2
    while reached(upper) < power:
        if upper >= at_most:
            return None
        upper = min(2 * upper, at_most)
    return 2 + bisect.bisect_left(range(2, upper), power, key=reached)


def _differences(table, train_size, test_size, confidence, null):
    """The columns of `Difference`, [A] each, of the rows of `table` [A, n]."""
    n, mean, sd = _moments(table)
    low, high, p = _student(mean, _standard_error(n, sd, train_size, test_size), n - 1, confidence, null)
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.where(sd > 0, _hedges(n - 1) * (mean - null) / sd, np.nan)
    p = np.where((sd == 0) & (np.abs(mean - null) <= SAME * abs(null)), 1.0, p)
    return {"n": n, "mean": mean, "sd": sd, "low": low, "high": high, "effect_size": effect, "p": p}


def _first(columns):
    n, *rest = (column[0] for column in columns.values())
    return Difference(int(n), *map(float, rest))


def _moments(table):
    """n, mean and sample standard deviation [A] of the finite entries of the rows of `table` [A, n]."""
    table = np.asarray(table, np.float64)
    known = np.isfinite(table)
    table = np.where(known, table, 0.0)
    n = known.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = table.sum(1) / n
        squares = np.where(known, table - mean[:, None], 0.0) ** 2
        sd = np.sqrt(squares.sum(1) / np.where(n > 1, n - 1, np.nan))
    return n, mean, np.where(sd <= SAME * np.abs(table).max(1, initial=0.0), 0.0, sd)


def _standard_error(n, sd, train_size, test_size):
    """Of a mean of n; NaN where there is no spread to judge it by."""
    if (train_size > 0) != (test_size > 0):
        raise ValueError(f"train_size={train_size}, test_size={test_size}: give both or neither")
    overlap = test_size / train_size if train_size else 0.0
    return np.where(sd > 0, sd * np.sqrt(1 / np.maximum(n, 1) + overlap), np.nan)


def _student(mean, error, df, confidence, null):
    half = stats.t.ppf((1 + confidence) / 2, df) * error
    return mean - half, mean + half, 2 * stats.t.sf(np.abs((mean - null) / error), df)


def _hedges(df):
    """Hedges 1981, eq. 6e: E[d] * factor is the effect in the population. NaN for df < 2, where E[d] is not finite."""
    df = np.where(np.asarray(df) > 1, df, np.nan)
    return np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
