"""From a study's tidy tables to everything the page and the terminal say about it: all statistics are made here.

The replicate is the (seed, fold): arms are compared replicate by replicate, so that what runs of one seed have in
common (initial weights, data order) cancels. `fmnist_jax.claims` has the same principle, in full.
"""

import dataclasses

import numpy as np
import pandas as pd

from fmnist_jax import claims
from fmnist_jax.analysis import frames
from fmnist_jax.analysis.notes import notes_of
from fmnist_jax.analysis.tables import Tables
from fmnist_jax.claims import Verdict
from fmnist_jax.tidy import Study

__all__ = ["Analysis", "Verdict", "analyse"]


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """What a study comes to. Diverged runs are in none of the numbers but `summary.diverged`.

    Attributes:
      study: the tables it was made from.
      summary: a row an (arm, metric): arm, metric, n, diverged, mean, sd, median, iqm, low, high (95% t interval; where
        folds overlap, with the variance of the corrected resampled test), bca_low, bca_high, best, worst. Metrics are
        the study's and `train_seconds`. Arms in the study's order.
      best: the arm with the best mean of `study.select_by`; None where there is nothing to compare.
      comparisons: a row an other arm, against `best`, in `study.metric`: arm, n, difference (arm - best), low, high,
        effect_size, p, adjusted_p (Holm over these rows, p times half the number of arms before: `best` is the best of
        many), distinguishable (adjusted_p < 0.05), seeds_needed (how many repeats in all would tell so large a
        difference among all pairs of arms with 80% power; NaN where no number is known, as with overlapping folds).
      curves: a row an (arm, metric, step): arm, metric, step, epoch, n, mean, sd, low, high (as in `summary`).
      importance: a row a factor or interaction, of `study.metric`: term, method ("ANOVA" or "fANOVA"), share (of the
        variance explained among terms and noise), df, F, p (NaN for fANOVA). ANOVA ends with a row for what the
        replicates have in common ("seed", or "seed and fold") and a row "seed noise".
      correlations: a row a (numeric factor, metric), over arms' means: factor, metric, n, pearson, low, high, p,
        spearman, spearman_p.
      verdicts: of the study's claims, in order.
      references: a row a reference arm, after one of the study's best arm (or only one): name, of_study, metric (the
        test accuracy, or the validation accuracy where the test set is not read), n, mean, sd, low, high (over seeds),
        deterministic (the same every time, so that n = 1 has no interval to miss), train_images, fit_seconds (mean of a
        fit; NaN of the study's arm), converged. Empty without reference arms.
      notes: what a reader must know of these statistics, a sentence each.
    """

    study: Study
    summary: pd.DataFrame
    best: str | None
    comparisons: pd.DataFrame
    curves: pd.DataFrame
    importance: pd.DataFrame
    correlations: pd.DataFrame
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    references: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)

    @property
    def near(self) -> list[str]:
        """The arms that a test does not tell from the best."""
        rows = self.comparisons
        return rows.loc[rows["p"].notna() & ~rows["distinguishable"].astype(bool), "arm"].tolist()

    @property
    def untested(self) -> list[str]:
        """The arms with a difference from the best that no test is possible of: n = 1, or the same in every repeat."""
        rows = self.comparisons
        return rows.loc[rows["difference"].notna() & rows["p"].isna(), "arm"].tolist()


def analyse(study: Study, *, seed: int = 0) -> Analysis:
    """All statistics of a study. `seed` is of the bootstrap and of fANOVA.

    Raises:
      ValueError: a claim is not well-formed.
    """
    tables = Tables(study)
    summary = frames.summary(tables, np.random.default_rng(seed))
    best = frames.best(tables)
    comparisons = frames.comparisons(tables, best)
    importance = frames.importance(tables, seed)
    return Analysis(
        study=study,
        summary=summary,
        best=best,
        comparisons=comparisons,
        curves=frames.curves(tables),
        importance=importance,
        correlations=frames.correlations(tables),
        verdicts=claims.judge(study),
        notes=notes_of(tables, best, importance),
        references=frames.references(tables, summary, best),
    )
