"""Models judged on the same test images: whether they err alike, image by image."""

from typing import NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats import contingency_tables


class McNemar(NamedTuple):
    """Two models on the same images."""

    n01: int  # images that a gets wrong and b right
    n10: int  # images that a gets right and b wrong
    p: float


def cochran_q(correct) -> tuple[float, float]:
    """Whether k models are right equally often: `correct` [k, N] bool, model by image -> (statistic, p).

    Cochran 1950; chi-squared with k - 1 degrees of freedom, for the many images that are not alike to all models. Where
    there is no such image: (0, 1). It judges these trained models, not the settings they were trained with.

    Raises:
      ValueError: fewer than two models.
    """
    correct = np.asarray(correct, bool)
    if correct.ndim != 2 or len(correct) < 2:
        raise ValueError(f"correct has shape {correct.shape}: must be [k, N] with k of 2 or more")
    if (correct == correct[0]).all():
        return 0.0, 1.0
    found = contingency_tables.cochrans_q(correct.T)
    return float(found.statistic), float(found.pvalue)


def mcnemar(a, b) -> McNemar:
    """Whether two models are right equally often: `a`, `b` [N] bool, right or wrong on the same images.

    McNemar 1947, always the exact binomial test of the images on which they differ; p = 1 where there is none.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    n01, n10 = int((~a & b).sum()), int((a & ~b).sum())
    return McNemar(n01, n10, float(stats.binomtest(n01, n01 + n10).pvalue) if n01 + n10 else 1.0)
