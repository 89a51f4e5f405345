"""A study's results as tidy tables: what the statistics, the claims and the page all read. A leaf.

A `Study` comes from a workdir (`fmnist_jax.results`) or from the CSV of a sweep run elsewhere (`report.foreign`).
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

# Columns of the runs table that are neither factors nor metrics.
AXES = ("arm", "seed", "fold")
LOWER_IS_BETTER = ("loss", "error", "ece", "seconds", "rmse", "mse", "mae", "perplexity")


@dataclasses.dataclass(frozen=True)
class Factor:
    """A hyper-parameter that differs between arms."""

    key: str  # the column of the runs table: a dotted config key, or a column of a CSV
    label: str  # short, for axes: "learning_rate"
    values: tuple  # what it takes, in order: numbers ascending, anything else as the arms have it
    numeric: bool

    @property
    def log(self) -> bool:
        """Whether its values read better on a logarithmic axis: positive numbers, a decade or more apart."""
        return self.numeric and min(self.values) > 0 and max(self.values) / min(self.values) >= 10


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Everything measured so far; of a running study, what is there.

    Attributes:
      name, question: what the page is headed with.
      factors: in the order the sweep names them; empty for a study of one arm.
      metric: the one the study asks about, a column of `runs`.
      select_by: the metric by which an arm is chosen as the best; not one of the test set where there is another.
      runs: a row a run: arm, seed, fold, a column a factor, metrics (NaN where missing), `diverged_at` and
        `stopped_at` (step, NaN where it did not), `epoch` (of the weights measured), `train_seconds` (an equal share
        of its group's), `parameters`; of a workdir also `group` and `finished` (else it is as far as its last
        evaluation).
      curves: a row a run and evaluation: arm, seed, fold, step, epoch and metrics; may be empty.
      arms: names in the sweep's order.
      claims: as `fmnist_jax.claims` makes them.
      facts: name -> value for "environment" and "how to reproduce"; plain JSON values.
      failures: {"group", "arms", "runs", "error"} a failed group.
      unfinished: runs that have not come to their end.
      confusions: arm -> [C, C] counts over its runs; row = true class.
      class_names: of the rows of a confusion matrix.
      wrong: the test images most often wrong: {"index", "label", "predicted", "share", "png"}, png in base64.
      train_size, validation_size: of a fold; for the corrected test of k-fold differences.
    """

    name: str
    question: str
    factors: tuple[Factor, ...]
    metric: str
    select_by: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    arms: tuple[str, ...]
    claims: tuple[dict, ...] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    failures: tuple[dict, ...] = ()
    unfinished: int = 0
    synthetic: bool = False
    confusions: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    wrong: tuple[dict, ...] = ()
    train_size: int = 0
    validation_size: int = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric columns of `runs`, the study's own first."""
        names = [
            c
            for c in self.runs.columns
            if c == self.metric or (c.split("_")[0] in ("train", "validation", "test") and c != "train_seconds")
        ]
        return tuple(sorted(names, key=lambda c: c != self.metric))


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric of this name is a better one."""
    return metric.rsplit("_", 1)[-1].lower() in LOWER_IS_BETTER


def best_arm(runs: pd.DataFrame, metric: str, arms: Sequence[str]) -> str | None:
    """The arm with the best mean of `metric`; of equals the first; None where no run has it.

    An arm of which a run diverged is chosen only where that happened to all arms: its survivors flatter it.
    """
    if metric not in runs:
        return None
    values = runs[metric].where(runs["diverged_at"].isna()) if "diverged_at" in runs else runs[metric]
    of_arm = pd.DataFrame({"mean": values, "missing": values.isna()}).groupby(runs["arm"], sort=False)
    means, whole = of_arm["mean"].mean(), of_arm["missing"].sum() == 0
    means = (means[whole] if whole.any() else means).reindex(list(arms)).dropna()
    if not len(means):
        return None
    return str(means.idxmin() if lower_is_better(metric) else means.idxmax())


def simple(value):
    """A factor's value as a table holds it: a number, or a string; a tuple of one number is that number."""
    if isinstance(value, (tuple, list)):
        if len(value) == 1:
            return simple(value[0])
        return ", ".join(f"{simple(v)}" for v in value) or "none"
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    return value


def factors_of(table: pd.DataFrame, keys: Sequence[str]) -> tuple[Factor, ...]:
    """The factors in these columns; labels are the last part of a dotted key, or more where two would be alike."""
    labels = short_labels(keys)
    found = []
    for key in keys:
        values = list(dict.fromkeys(table[key].tolist()))
        numeric = all(isinstance(v, (int, float, np.number)) for v in values)
        found.append(Factor(key, labels[key], tuple(sorted(values) if numeric else values), numeric))
    return tuple(found)


def short_labels(keys: Iterable[str]) -> dict[str, str]:
    """'optimizer.learning_rate' -> 'learning_rate', with as many parts as make it the only one of its name."""
    keys = list(keys)

    def tail(key, parts):
        return ".".join(key.split(".")[-parts:])

    labels = {}
    for key in keys:
        parts = 1
        while sum(tail(other, parts) == tail(key, parts) for other in keys) > 1:
            parts += 1
        labels[key] = tail(key, parts)
    return labels
