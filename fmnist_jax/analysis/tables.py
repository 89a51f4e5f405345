"""A study's runs as matrices, arm by replicate."""

import functools

import numpy as np
import pandas as pd

from fmnist_jax.claims.replicates import fold_sizes
from fmnist_jax.tidy import Study


class Tables:
    """A study's runs as matrices [A, R]: arm by replicate, NaN where a run is missing, unfinished or diverged."""

    def __init__(self, study: Study):
        self.study = study
        runs = study.runs if len(study.runs) else pd.DataFrame({"arm": [], "seed": [], "fold": []})
        self.arm = pd.Index(study.arms, dtype=object).get_indexer(runs["arm"].astype(object))
        self.runs = runs[self.arm >= 0].reset_index(drop=True)
        self.arm = self.arm[self.arm >= 0]
        self.replicate, self.replicates = replicates_of(self.runs)
        diverged_at = self.runs.get("diverged_at")
        self.diverged = np.zeros(len(self.runs), bool) if diverged_at is None else diverged_at.notna().to_numpy()
        self.sizes = fold_sizes(study) if len(self.runs["fold"].unique()) > 1 else (0, 0)

    @functools.cached_property
    def metrics(self) -> tuple[str, ...]:
        """The numeric metrics of the runs, the study's own first."""
        factors = {f.key for f in self.study.factors}
        names = [m for m in (*self.study.metrics, "train_seconds") if m in self.runs and m not in factors]
        return tuple(m for m in dict.fromkeys(names) if pd.api.types.is_numeric_dtype(self.runs[m]))

    @functools.cached_property
    def chosen_by(self) -> str:
        """What the best arm is chosen by: `select_by`, or the study's metric where no run has that."""
        by = self.study.select_by
        return by if np.isfinite(self.of(by)).any() else self.study.metric

    def of(self, metric: str) -> np.ndarray:
        """The metric [A, R]."""
        table = np.full((len(self.study.arms), len(self.replicates)), np.nan)
        if metric in self.metrics:
            values = self.runs[metric].to_numpy(np.float64, na_value=np.nan)
            table[self.arm[~self.diverged], self.replicate[~self.diverged]] = values[~self.diverged]
        return np.where(np.isfinite(table), table, np.nan)


def replicates_of(frame: pd.DataFrame) -> tuple[np.ndarray, pd.MultiIndex]:
    """The code [rows] of each row's (seed, fold), and the pairs in order."""
    index = pd.MultiIndex.from_frame(frame[["seed", "fold"]])
    pairs = index.unique().sort_values()
    return pairs.get_indexer(index), pairs
