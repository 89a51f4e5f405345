"""What one test says about a claim, and how several tests become one."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fmnist_jax import stats
from fmnist_jax.claims import words
from fmnist_jax.claims.replicates import Sample


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One test, before it is adjusted for being one of many.

    Attributes:
      finding: "the difference is 0.90 points".
      interval: "95% interval 0.40 to 1.40"; empty where there is none.
      supports: whether the data point the claim's way; p says how surely.
      p: NaN where no test is possible.
      n, noun: of replicates.
      sd, gap: how far the mean lies from where the claim turns, in what spread; for the number of seeds it would take.
      cost: what was left out.
      extra: more that a reader wants to know.
    """

    finding: str
    interval: str
    supports: bool
    effect: float
    low: float
    high: float
    p: float
    n: int
    noun: str
    sd: float = np.nan
    gap: float = np.nan
    cost: str = ""
    extra: str = ""

    @property
    def told(self) -> str:
        """The finding with its interval."""
        return f"{self.finding} ({self.interval})" if self.interval else self.finding

    def named(self, before: str) -> "Outcome":
        """With `before` in front of the finding: which of several this one is."""
        return dataclasses.replace(self, finding=f"{before} {self.finding}")


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What a sample is of: "the difference", in a unit."""

    noun: str
    unit: words.Unit
    suffix: str


def difference(metric: str) -> Quantity:
    """Of a difference of two values of a metric."""
    unit = words.unit(metric)
    return Quantity("the difference", unit, unit.difference)


def mean(metric: str) -> Quantity:
    """Of a metric itself."""
    unit = words.unit(metric)
    return Quantity("the mean", unit, unit.value)


def directional(sample: Sample, sign: int, quantity: Quantity, null: float = 0.0) -> Outcome:
    """The mean lies above (sign 1) or below (-1) `null`; sign 0: either."""
    found = _test(sample, null)
    supports = sign == 0 or sign * (found.mean - null) > 0
    return _outcome(sample, quantity, supports, found, found.p, abs(found.mean - null))


def within(sample: Sample, margin: float, quantity: Quantity, null: float = 0.0) -> Outcome:
    """The mean lies within `null` ± `margin`. Inside: TOST; outside: the test that it is not just at the margin."""
    found = _test(sample, null)
    offset = found.mean - null
    if abs(offset) < margin:
        p = stats.equivalence(sample.numbers - null, margin, *sample.sizes).p
        # Values all alike are no evidence of equivalence either: their spread is not known.
        return _outcome(sample, quantity, True, found, p, margin - abs(offset))
    p = _test(sample, null + np.copysign(margin, offset)).p
    return _outcome(sample, quantity, False, found, p, abs(offset) - margin)


def all_of(outcomes: Sequence[Outcome]) -> Outcome:
    """Every one holds. Intersection-union: the largest p; against it the least p of those that do not, Bonferroni.

    Bonferroni is over all that were looked at: how many point the wrong way is itself chance.
    """
    against = [outcome for outcome in outcomes if not outcome.supports]
    return _clearest(against, len(outcomes)) if against else _weakest(outcomes)


def any_of(outcomes: Sequence[Outcome]) -> Outcome:
    """One at least holds: the least p of those that do, Bonferroni as in `all_of`; against it the largest p."""
    favour = [outcome for outcome in outcomes if outcome.supports]
    return _clearest(favour, len(outcomes)) if favour else _weakest(outcomes)


def _weakest(outcomes: Sequence[Outcome]) -> Outcome:
    """The one with the largest p; one without a p is the weakest."""
    return max(outcomes, key=lambda outcome: np.inf if np.isnan(outcome.p) else outcome.p)


def _clearest(outcomes: Sequence[Outcome], looked_at: int) -> Outcome:
    """The one with the least p, which is taken times how many were looked at."""
    best = min(outcomes, key=lambda outcome: np.inf if np.isnan(outcome.p) else outcome.p)
    return dataclasses.replace(best, p=float(np.minimum(1.0, looked_at * best.p)))  # NaN stays


def _test(sample: Sample, null: float) -> stats.Difference:
    if sample.sizes[0]:
        return stats.corrected_resampled(sample.numbers, *sample.sizes, null=null)
    return stats.paired_difference(sample.numbers, null=null)


def _outcome(sample, quantity, supports, found, p, gap) -> Outcome:
    number = quantity.unit.number
    interval = "" if np.isnan(found.low) else f"95% interval {number(found.low)} to {number(found.high)}"
    return Outcome(
        finding=f"{quantity.noun} is {number(found.mean)}{quantity.suffix}",
        interval=interval,
        supports=bool(supports),
        effect=found.mean,
        low=found.low,
        high=found.high,
        p=p,
        n=found.n,
        noun=sample.noun,
        # Repeats within overlapping folds do not add up as seeds do.
        sd=np.nan if sample.sizes[0] else found.sd,
        gap=gap,
        cost=sample.cost,
    )
