"""What the effect of a claim is of, and so how it is written: a difference, a mean, a correlation, a share, ..."""

import dataclasses
from collections.abc import Callable

from fmnist_jax.report import words

MEANS = ("at_least", "at_most", "about")
SLOPES = ("increases_with", "decreases_with")
SHARES_OF_RUNS = ("fails",)
DIFFERENCES_OF_SHARES = ("fails_more", "worst_class", "best_class", "most_taken_for", "confuses_more")


@dataclasses.dataclass(frozen=True)
class Effect:
    """How an effect reads: what it is, how a value of it is written, and the value that marks "none"."""

    label: str
    show: Callable[[float], str]
    reference: float = 0.0


def of(metric: str, share: bool, claim: dict) -> Effect:
    """The effect of a claim (`fmnist_jax.claims`) on a metric; of a claim of no known kind, a difference."""
    kind, label = claim.get("kind", ""), words.metric_label(metric)
    points = ", points" if share else ""
    if kind in MEANS:
        unit = "%" if share else ""
        return Effect(f"mean {label}", lambda v: words.number(v, share) + unit, claim["value"])
    if kind in SLOPES:
        return Effect(f"slope of {label} a step{points}", lambda v: signed(v, share))
    if kind == "correlation":
        return Effect(f"correlation with {label}", correlation)
    if kind == "spreads_more":
        return Effect(f"ratio of the spreads of {label}", lambda v: f"{v:.2f}", 1.0)
    if kind == "interacts":
        return Effect(f"share of the variance of {label}", _percent)
    if kind in SHARES_OF_RUNS:
        return Effect("share of runs that fail", _percent, claim["share"])
    if kind in DIFFERENCES_OF_SHARES:
        return Effect("difference of shares, points", lambda v: signed(v, True))
    if claim.get("b_metric"):
        return Effect(f"{label} less {words.metric_label(claim['b_metric'])}{points}", lambda v: signed(v, share))
    return Effect(f"difference in {label}{points}", lambda v: signed(v, share))


def signed(value: float, share: bool) -> str:
    """A difference: +0.45 (percentage points), −0.0123."""
    text = words.number(value, share)
    return text.replace("-", "−") if text.startswith("-") or text == words.NOTHING else f"+{text}"


def correlation(value: float) -> str:
    """+0.240; a dash where there is none."""
    return f"{value:+.3f}".replace("-", "−") if words.known(value) else words.NOTHING


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"
