"""A study's results as tidy tables: what the statistics, the claims and the page all read. A leaf.

A `Study` comes from a workdir (`fmnist_jax.results`) or from the CSV of a sweep run elsewhere (`report.foreign`).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
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
        of its group's), `parameters`; where arms were timed, `alone_seconds` (what the run's training takes with
        nothing beside it: `fmnist_jax.timing`); of a workdir also `group` and `finished` (else it is as far as its last
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
      activities: arm -> layer ("features", "logits") -> [units, units] correlation of activities, mean over its runs.
      references: classical classifiers on the same images, a row a fit (`fmnist_jax.references`): {"name", "seed" (None
        where nothing is drawn), "train_images", "test_accuracy", "validation_accuracy", ...}; no runs of the study.
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
    activities: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    references: tuple[dict, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric columns of `runs`, the study's own first."""
        names = [
            c
            for c in self.runs.columns
            if c in (self.metric, "alone_seconds")
            or (c.split("_")[0] in ("train", "validation", "test") and not c.endswith(("train_seconds", "_units")))
        ]
        return tuple(sorted(names, key=lambda c: c != self.metric))


def combined(parts: Mapping[str, Study], settings: Mapping[str, Mapping[str, dict]], name: str, metric: str) -> Study:
    """The runs of several studies as one: an arm is called "part: arm", and the factor "part" says whose it is.

    Args:
      settings: part -> arm -> the values of all its factors, also of those that another part varies.
    """
    keys = list(dict.fromkeys(key for part in settings.values() for arm in part.values() for key in arm))

    def together(field: str, *, factors: bool) -> pd.DataFrame:
        frames = []
        for part, study in parts.items():
            if len(frame := getattr(study, field)):
                of_arm = {key: {arm: values[key] for arm, values in settings[part].items()} for key in keys}
                columns = {key: frame["arm"].map(of_arm[key]) for key in keys} if factors else {}
                frames.append(frame.assign(arm=f"{part}: " + frame["arm"].astype(str), part=part, **columns))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*AXES, "part", *keys])

    runs = together("runs", factors=True)
    folded = next((s for s in parts.values() if s.facts.get("folds", 1) > 1), None)
    class_names = next((s.class_names for s in parts.values() if s.class_names), ())
    alike = {part: study for part, study in parts.items() if study.class_names == class_names}
    return Study(
        name=name,
        question="",
        factors=factors_of(runs, ["part", *keys]) if len(runs) else (),
        metric=metric,
        select_by=metric,
        runs=runs,
        curves=together("curves", factors=False).drop(columns="part", errors="ignore"),
        arms=tuple(f"{part}: {arm}" for part, study in parts.items() for arm in study.arms),
        facts=_facts_of_all(list(parts.values())),
        failures=tuple(failure for study in parts.values() for failure in study.failures),
        unfinished=sum(study.unfinished for study in parts.values()),
        synthetic=any(study.synthetic for study in parts.values()),
        confusions={f"{part}: {arm}": m for part, study in alike.items() for arm, m in study.confusions.items()},
        class_names=class_names,
        train_size=folded.train_size if folded else 0,
        validation_size=folded.validation_size if folded else 0,
        activities={f"{part}: {arm}": m for part, study in parts.items() for arm, m in study.activities.items()},
        references=tuple({**one, "part": part} for part, study in parts.items() for one in study.references),
    )


def _facts_of_all(studies: Sequence[Study]) -> dict[str, Any]:
    facts = dict(studies[0].facts) if studies else {}
    for key in ("wall_seconds", "compile_seconds", "groups"):
        facts[key] = sum(study.facts.get(key, 0) for study in studies)
    for key in ("seeds", "folds", "config", "refit", "images_per_second"):  # each part has its own
        facts.pop(key, None)
    return facts


@dataclasses.dataclass(frozen=True, eq=False)
class Paper:
    """A published study, repeated: what its page and its chapter in docs/replication.md are made of.

    Attributes:
      name: of the workdir.
      title, reference: of the paper.
      question: what it asks.
      notes: what differs from the paper, and what that may change, a sentence each.
      study: the runs of all parts (`combined`), and the paper's claims.
      exhibits: its tables and figures, as `fmnist_jax.exhibits` makes them.
      parts: (name, question, link to its own page).
      facts: for "environment" and "how to reproduce".
    """

    name: str
    title: str
    reference: str
    question: str
    notes: tuple[str, ...]
    study: Study
    exhibits: tuple[dict, ...] = ()
    parts: tuple[tuple[str, str, str], ...] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


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
        values = list(dict.fromkeys(table[key].dropna().tolist()))
        numeric = all(isinstance(v, (int, float, np.number)) for v in values)
        found.append(Factor(key, labels[key], tuple(sorted(values) if numeric else values), numeric))
    return tuple(found)


def short_labels(keys: Iterable[str]) -> dict[str, str]:
    """'optimizer.learning_rate' -> 'learning_rate', with as many parts as make it the only one of its name.

    'loss.name' stays as it is.
    """
    keys = list(keys)

    def tail(key, parts):
        return ".".join(key.split(".")[-parts:])

    labels = {}
    for key in keys:
        parts = 2 if key.endswith(".name") else 1  # "name" says nothing
        while sum(tail(other, parts) == tail(key, parts) for other in keys) > 1:
            parts += 1
        labels[key] = tail(key, parts)
    return labels
