"""Which hyper-parameter matters: exact analysis of variance on complete grids, fANOVA on anything else."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

COLUMNS = ["term", "df", "sum_sq", "share", "F", "p"]
NOISE = "seed noise"
MOST_ROWS = 1000  # some 4 s of the forest's marginals on one core; twice the rows, 11 s and the same shares


def is_complete(table: pd.DataFrame, factors: Sequence[str]) -> bool:
    """Whether every combination of the factors' values is there, each with the same number of rows."""
    codes, levels = _codes(table, factors)
    if not len(table) or math.prod(levels) > len(table):  # also keeps a product of many columns from being allocated
        return False
    return len(set(np.bincount(_cell_of(codes, levels, len(table)), minlength=math.prod(levels)))) == 1


def anova(table: pd.DataFrame, metric: str, factors: Sequence[str], block: str | None = None) -> pd.DataFrame:
    """Full factorial analysis of variance of `metric`, all interactions, on a complete and balanced grid. Exact.

    Factors are categorical. Repeats of a cell make the error. Rows whose metric is not finite are left out first,
    factors that take one value too. With `block`, a column whose every value is in every cell equally
    often (the seed: its runs share initial weights and data order), what its runs share is taken out of the error and
    has a row of its own.

    Returns a frame of a row a term (main effects, then interactions, then the block), last "seed noise":
      term: factor names joined by " × ".
      df, sum_sq: degrees of freedom and sum of squares. share: eta squared, sum_sq / total; they add up to 1.
      F, p: against the error; NaN for the error itself, and where there is no error to speak of.
    attrs["error"] names the term used as the error: "seed noise"; with one run a cell the highest interaction, and
    "seed noise" has no degrees of freedom and NaN; "none" where that leaves nothing to test.

    Raises:
      ValueError: a grid that is not complete and balanced.
    """
    table = table[np.isfinite(table[metric].to_numpy(np.float64))]
    factors = [key for key in factors if len(table[key].unique()) > 1]
    block = block if block is not None and len(table[block].unique()) > 1 else None
    design = factors if block is None else [*factors, block]
    if not is_complete(table, design):
        raise ValueError(f"{metric} by {design}: not every combination has the same number of finite runs; use fanova")
    runs = _grid(table, metric, design)
    repeats = tuple(range(len(factors), runs.ndim))  # axes within a cell
    cells = runs.mean(repeats, keepdims=True)
    residuals = runs - cells
    rows = []
    for size in range(1, len(factors) + 1):
        for axes in itertools.combinations(range(len(factors)), size):
            rows.append((" × ".join(factors[axis] for axis in axes), *_effect(cells, axes, runs.size)))
    if block is not None:
        rows.append((block, *_effect(runs.mean(-1, keepdims=True), (len(factors),), runs.size)))
        residuals = residuals - residuals.mean((*range(len(factors)), runs.ndim - 1), keepdims=True)
    total = float(((runs - runs.mean()) ** 2).sum())
    return _judged(rows, float((residuals**2).sum()), total, runs.size, len(factors))


def _judged(rows, noise, total, runs, factors):
    """Terms `rows` [(name, df, sum_sq)] and the error's sum of squares `noise` -> the frame of `anova`."""
    noise_df = runs - 1 - sum(df for _, df, _ in rows)
    error, error_df, error_square = NOISE, noise_df, noise
    if noise_df == 0:
        error, error_df, error_square = rows[-1] if factors > 1 else ("none", 0, np.nan)
        noise = np.nan
    # Spread at the edge of rounding (a metric without noise, as a count of parameters) is no yardstick.
    judged = error_df > 0 and error_square > 1e-18 * total
    frame = pd.DataFrame([*rows, (NOISE, noise_df, noise)], columns=["term", "df", "sum_sq"])
    frame["share"] = frame["sum_sq"] / total if total > 0 else np.nan
    tested = judged & ~frame["term"].isin([error, NOISE])
    frame["F"] = (frame["sum_sq"] / frame["df"].where(tested)) / (error_square / error_df if judged else np.nan)
    frame["p"] = stats.f.sf(frame["F"], frame["df"], error_df)
    frame.attrs["error"] = error
    return frame[COLUMNS]


def _effect(means, axes, runs):
    """(df, sum of squares) of the interaction of `axes` from cell means of any shape, over `runs` runs in all.

    The parts are orthogonal in a balanced design: along its own axes an effect is what is left of the mean, along the
    others it is the mean.
    """
    for axis in range(means.ndim):
        mean = means.mean(axis, keepdims=True)
        means = means - mean if axis in axes else mean
    return math.prod(n - 1 for n in means.shape if n > 1), float((means**2).sum()) * runs / means.size


def _codes(table, factors):
    found = [pd.factorize(table[key], use_na_sentinel=False) for key in factors]
    return [codes for codes, _ in found], [len(values) for _, values in found]


def _cell_of(codes, levels, rows):
    return np.ravel_multi_index(codes, levels) if codes else np.zeros(rows, int)


def _grid(table, metric, design):
    """`metric` as [levels of each key of design, ..., repeats]."""
    codes, levels = _codes(table, design)
    order = np.argsort(_cell_of(codes, levels, len(table)), kind="stable")
    return table[metric].to_numpy(np.float64)[order].reshape(*levels, -1)


def fanova(table: pd.DataFrame, metric: str, factors: Sequence[str], seed: int) -> pd.DataFrame:
    """Share of each factor alone in the variance of `metric`, from a random forest: for grids with gaps, random search.

    optuna's `FanovaImportanceEvaluator` (Hutter, Hoos & Leyton-Brown 2014); same seed, same table. A setting's repeats
    are averaged first, and of more than 1,000 settings as many are drawn. Shares are of the forest's variance over the
    box of values, evenly filled: what is missing to 1 is interactions and fitted noise. Numbers count as ordered, by
    their logarithm where they are positive and span a factor of 10 or more, anything else as categories.

    Returns a frame with the columns of `anova`, a row a factor, df, sum_sq, F and p NaN; share NaN where the metric
    does not vary.
    """
    # Half a second of scikit-learn that only this function needs.
    import optuna

    table = table[np.isfinite(table[metric].to_numpy(np.float64))]
    settings = table.groupby(list(factors), sort=False, dropna=False, as_index=False)[metric].mean()
    if len(settings) > MOST_ROWS:
        settings = settings.iloc[np.random.default_rng(seed).permutation(len(settings))[:MOST_ROWS]]
    frame = pd.DataFrame({"term": list(factors)}).reindex(columns=COLUMNS)
    frame[COLUMNS[1:]] = np.nan
    if len(settings) < 2 or np.ptp(settings[metric]) == 0:
        return frame
    axes = {key: _axis(settings[key]) for key in factors}
    distributions = {key: distribution for key, (_, distribution) in axes.items()}
    columns = [values for values, _ in axes.values()]
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        study.add_trials(
            optuna.create_trial(params=dict(zip(factors, row, strict=True)), distributions=distributions, value=value)
            for *row, value in zip(*columns, settings[metric].tolist(), strict=True)
        )
        shares = optuna.importance.FanovaImportanceEvaluator(seed=seed).evaluate(study)
    finally:
        optuna.logging.set_verbosity(level)
    frame["share"] = [shares[key] for key in factors]
    return frame


def _axis(column):
    """A factor's values as optuna takes them, and their distribution."""
    from optuna import distributions

    values = column.tolist()
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        # The evaluator reads a log distribution as a linear one (optuna 5.0, transform_log=False): hand it logarithms.
        if min(values) > 0 and max(values) / min(values) >= 10:
            values = [math.log10(v) for v in values]
        return values, distributions.FloatDistribution(min(values), max(values))
    codes, names = pd.factorize(column, use_na_sentinel=False)
    return codes.tolist(), distributions.CategoricalDistribution(range(len(names)))
