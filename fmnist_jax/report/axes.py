"""What the page and the stills agree on: scales of factors, groups of many values, which arms stand for the rest."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fmnist_jax import tidy
from fmnist_jax.analysis import Analysis
from fmnist_jax.report import words

MAX_GROUPS = 8  # values of a factor told apart by colour; more are put together


def scale(factor: tidy.Factor) -> str:
    """'log', 'linear' or 'ordinal': numbers too uneven for a linear axis (0, 1e-4, 1e-3) are put side by side."""
    if not factor.numeric:
        return "ordinal"
    if factor.log:
        return "log"
    values = np.asarray(factor.values, float)
    uneven = len(values) > 1 and np.diff(values).min() < np.ptp(values) / 25
    return "ordinal" if uneven and len(values) <= 12 else "linear"


def arm_factors(study: tidy.Study) -> pd.DataFrame:
    """The factors' values of every arm; index arm in the study's order. Arms without a run yet hold None."""
    columns = [factor.key for factor in study.factors]
    return study.runs.drop_duplicates("arm").set_index("arm")[columns].reindex(list(study.arms))


def codes(factor: tidy.Factor, values: pd.Series) -> np.ndarray:
    """The place of each value among the factor's, int32; -1 where it is none of them."""
    place = {value: i for i, value in enumerate(factor.values)}
    return np.array([place.get(value, -1) for value in values.tolist()], np.int32)


def groups(factor: tidy.Factor, most: int = MAX_GROUPS) -> list[range]:
    """The places of the factor's values as at most `most` runs of neighbours; `groupsOf` in data.js."""
    n = len(factor.values)
    count = min(n, most)
    return [range(i * n // count, (i + 1) * n // count) for i in range(count)]


def value_names(factor: tidy.Factor) -> list[str]:
    """The factor's values as labels, with as many digits as tell them apart: the address of a view names them."""
    values = factor.values  # noqa: PD011 (no pandas)
    for digits in (4, 6, 17):
        names = [words.factor_value(value, digits) for value in values]
        if len(set(names)) == len(values):
            break
    return names


def group_name(factor: tidy.Factor, group: range) -> str:
    """'0.01', or '0.01 … 0.1' for a stretch of values."""
    names = value_names(factor)
    first, last = names[group[0]], names[group[-1]]
    if len(group) == 1:
        return first
    return f"{first} … {last}" if factor.numeric else f"{first} and {len(group) - 1} more"


def group_index(factor: tidy.Factor, most: int = MAX_GROUPS) -> np.ndarray:
    """For each of the factor's values, the group it is in."""
    return np.concatenate([np.full(len(group), i) for i, group in enumerate(groups(factor, most))])


def along(factor: tidy.Factor) -> np.ndarray:
    """Where the factor's values lie on its axis, in the axis's own (logged) units."""
    if scale(factor) == "ordinal":
        return np.arange(len(factor.values), dtype=float)
    values = np.asarray(factor.values, float)
    return np.log10(values) if scale(factor) == "log" else values


def ranked(analysis: Analysis, metric: str | None = None) -> pd.DataFrame:
    """The summary's rows of a metric, best mean first; arms without a mean are left out."""
    metric = metric or analysis.study.metric
    rows = analysis.summary[analysis.summary["metric"] == metric].dropna(subset=["mean"])
    return rows.sort_values("mean", ascending=tidy.lower_is_better(metric), kind="stable").reset_index(drop=True)


def spread(names: Sequence[str], n: int) -> list[str]:
    """The first of these and n - 1 more, evenly from the rest to the last: the best and what the others look like."""
    if len(names) <= n:
        return list(names)
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, n).round().astype(int))]


def by_importance(analysis: Analysis) -> list[int]:
    """Places of the study's factors, the one that explains most first; those without a share keep their order."""
    share = dict(zip(analysis.importance.get("term", ()), analysis.importance.get("share", ()), strict=True))
    of = [max(share.get(f.key, -1.0), share.get(f.label, -1.0)) for f in analysis.study.factors]
    return sorted(range(len(of)), key=lambda i: -of[i])


def term_label(study: tidy.Study, term: str) -> str:
    """A term of the analysis of variance with the factors' labels for their keys: 'learning_rate × filters'."""
    labels = {factor.key: factor.label for factor in study.factors}
    return " × ".join(labels.get(part, part) for part in term.split(" × "))
