"""Statistics of repeats: SciPy, statsmodels and optuna, behind the few words a study needs. A leaf.

Wherever random numbers are drawn the caller hands in a generator or a seed. Entries that are not finite (diverged runs)
count nowhere. Where the numbers carry no information about spread (fewer than two, or all the same) intervals are NaN,
not of width nothing; the one exception is `bca_interval`, which says so.
"""

from fmnist_jax.stats.compare import (
    Difference,
    Equivalence,
    corrected_resampled,
    equivalence,
    holm,
    paired_difference,
    paired_differences,
    seeds_needed,
    unpaired_difference,
)
from fmnist_jax.stats.correlation import Correlation, pearson, spearman
from fmnist_jax.stats.examples import McNemar, cochran_q, mcnemar
from fmnist_jax.stats.factors import anova, fanova, is_complete
from fmnist_jax.stats.intervals import (
    Interval,
    bca_interval,
    bca_means,
    interquartile_mean,
    mean_interval,
    prediction_interval,
)
from fmnist_jax.stats.spread import SpreadRatio, brown_forsythe, log_sd_ratio, shapiro_wilk

__all__ = [
    "Correlation",
    "Difference",
    "Equivalence",
    "Interval",
    "McNemar",
    "SpreadRatio",
    "anova",
    "bca_interval",
    "bca_means",
    "brown_forsythe",
    "cochran_q",
    "corrected_resampled",
    "equivalence",
    "fanova",
    "holm",
    "interquartile_mean",
    "is_complete",
    "log_sd_ratio",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "paired_differences",
    "pearson",
    "prediction_interval",
    "seeds_needed",
    "shapiro_wilk",
    "spearman",
    "unpaired_difference",
]
