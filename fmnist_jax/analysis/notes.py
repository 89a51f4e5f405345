"""What a reader must know of a study's statistics, a sentence each."""

import numpy as np
import pandas as pd

from fmnist_jax.analysis.tables import Tables

# How often a 95% BCa interval of n values held the mean (`stats.bca_interval`).
BCA_COVERAGE = {3: 72, 5: 84, 10: 90, 30: 93}  # percent; `stats.bca_interval`


def notes_of(tables: Tables, best: str | None, importance: pd.DataFrame) -> tuple[str, ...]:
    """The notes on a study, those on how far it has come first."""
    found = (_progress, _intervals, _folds, _choice, _comparisons)
    return tuple(note for of in found for note in of(tables, best)) + _importance(tables, importance)


def _progress(tables: Tables, best: str | None):
    study = tables.study
    if study.unfinished:
        yield f"The study is unfinished, {_runs(study.unfinished)} to come: numbers and verdicts are of what is there."
    if not len(tables.runs):
        yield "No run has finished, so there is nothing to tell yet."
    if study.synthetic:
        yield "The images are drawn, not real: nothing here is a finding about a data set."
    if tables.diverged.any():
        count = int(tables.diverged.sum())
        yield f"{_runs(count)} of {len(tables.runs):,} diverged and are in none of the numbers."
    stopped = tables.runs.get("stopped_at")
    if stopped is not None and stopped.notna().any() and len(study.curves):
        count = int(stopped.notna().sum())
        yield f"{_runs(count)} stopped early: from there on a curve's mean is over the runs still going."


def _intervals(tables: Tables, best: str | None):
    counts = np.isfinite(tables.of(tables.study.metric)).sum(1)
    if not counts.any():
        return
    n = int(counts.max())
    if n == 1:
        yield "There is one run an arm (n = 1): no interval, no test and no verdict is possible; take more seeds."
        return
    yield (
        "Intervals are 95% Student's t intervals of the mean over n replicates, the replicate being the "
        f"{'(seed, fold)' if tables.sizes[0] else 'seed'}; overlapping intervals do not say that arms are alike."
    )
    known = max((k for k in BCA_COVERAGE if k <= n), default=3)
    if n < 30:
        yield (
            f"Bootstrap (BCa) intervals are too narrow for so few repeats: at n = {known} they hold the mean in "
            f"{BCA_COVERAGE[known]}% of studies, not 95%; go by the t intervals."
        )
    if len(few := np.unique(counts)) > 1:
        yield f"Not all arms have as many replicates: from {few[0]} to {few[-1]}; pairs that lack one are left out."
    if best is not None and (have := counts[tables.study.arms.index(best)]) < n:
        yield f"The best arm has {have} of {n} replicates: it may be the best by what is missing."


def _folds(tables: Tables, best: str | None):
    if tables.sizes[0]:
        yield (
            "The training sets of folds overlap: intervals and tests have the variance of the corrected resampled "
            "t test (Nadeau & Bengio 2003); bootstrap intervals and the analysis of variance are not corrected."
        )


def _choice(tables: Tables, best: str | None):
    if best is None:
        return
    by, metric = (name.replace("_", " ") for name in (tables.chosen_by, tables.study.metric))
    if by.split()[0] == metric.split()[0]:
        yield f"The best arm is chosen by {by}, from the data that its {metric} is of: that number is flattered."
    elif by.startswith("test"):
        yield f"The best arm is chosen by {by}: the test set has been used up for choosing."
    else:
        yield f"The best arm is chosen by {by}; its {metric} had no part in that and is honest."


def _comparisons(tables: Tables, best: str | None):
    if best is not None and len(tables.study.arms) > 2:
        yield (
            "The p values of the comparisons with the best arm are adjusted for being many (Holm), and for the best "
            "having been picked as such (times half the number of arms)."
        )
    if tables.study.claims:
        yield "The p values of all claims are adjusted together (Holm); a verdict is decisive under 0.05."


def _importance(tables: Tables, importance: pd.DataFrame) -> tuple[str, ...]:
    if not tables.study.factors or not len(tables.runs):
        return ()
    if not len(importance):
        return ("No importance of factors: that takes a complete grid with repeats, or two factors and eight arms.",)
    if importance["method"].iloc[0] == "ANOVA":
        return (
            "Importance is by analysis of variance, the grid being complete with as many repeats of every arm; shares "
            "are of the total sum of squares.",
        )
    return (
        "Importance is by fANOVA, a random forest's estimate without p values, because the grid is not complete with "
        "as many repeats (two or more) of every arm; what is missing to 1 is interactions.",
    )


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
