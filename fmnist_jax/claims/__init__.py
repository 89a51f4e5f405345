"""A paper's claims as data, and their verdicts. Knows `tidy` and `stats` alone.

    config.claims = (
        claims.greater("A1", {"model.dense": 1024}, {"model.dense": 256}, quote="...", source="acosta, table 1"),
        claims.best_is("R2", {"learning_rate": 0.01}, metric="validation_accuracy"),
    )

A claim is a dict of plain JSON values; the functions of `vocabulary` make them, `check` refuses a wrong one, `judge`
gives each a `Verdict`.

**The replicate is the (seed, fold).** Whatever a claim compares is first averaged, or differenced setting by setting of
the other factors, within each (seed, fold); that gives one number a replicate, and the test is over these numbers.
Twelve arms of five seeds are n = 5, not 60: the arms of a seed share its initial weights and its data order. With one
fold the test is Student's t; with several, whose training sets overlap, the corrected resampled t test (Nadeau &
Bengio 2003). Where a claim is about folds themselves, or counts runs, the replicate is the seed alone.

Diverged runs and runs without the metric are left out, and with them the setting or the replicate that is no longer
whole, whichever loses fewer numbers; the reason says what that cost. `fails` and `fails_more` count such runs.

**Decisions.** The p values of all claims of a study are adjusted together (Holm). Under 0.05 a claim is "replicated"
where the data point its way and "not replicated" where they point the other way; else it is "inconclusive". It is
"not judged" where the data for it are not there: the reason says what is missing.
"""

from fmnist_jax.claims.checking import check
from fmnist_jax.claims.judging import Verdict, judge
from fmnist_jax.claims.vocabulary import (
    about,
    all_equivalent,
    at_least,
    at_most,
    best_class,
    best_is,
    confuses_more,
    correlation,
    decreases_with,
    differ,
    equivalent,
    fails,
    fails_more,
    falls_then_rises,
    greater,
    increases_with,
    interacts,
    less,
    metric_greater,
    most_taken_for,
    rises_then_falls,
    spreads_more,
    worst_class,
    worst_is,
)

__all__ = [
    "Verdict",
    "about",
    "all_equivalent",
    "at_least",
    "at_most",
    "best_class",
    "best_is",
    "check",
    "confuses_more",
    "correlation",
    "decreases_with",
    "differ",
    "equivalent",
    "fails",
    "fails_more",
    "falls_then_rises",
    "greater",
    "increases_with",
    "interacts",
    "judge",
    "less",
    "metric_greater",
    "most_taken_for",
    "rises_then_falls",
    "spreads_more",
    "worst_class",
    "worst_is",
]
