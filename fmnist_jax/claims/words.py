"""How numbers, selectors and metrics are put into words. A leaf."""

import dataclasses
from collections.abc import Mapping

from fmnist_jax import tidy

FRACTIONS = ("accuracy", "acc", "recall", "precision", "f1", "ece")


@dataclasses.dataclass(frozen=True)
class Unit:
    """How values of a metric are shown: fractions in hundredths."""

    scale: float
    value: str  # behind a value
    difference: str  # behind a difference

    def number(self, value: float) -> str:
        return f"{self.scale * value:.2f}" if self.scale != 1 else f"{value:.3g}"

    def given(self, value: float) -> str:
        """A number that the claim gives, as short as it is."""
        return f"{round(self.scale * value, 6):g}"

    def margin(self, value: float) -> str:
        """A difference that the claim gives."""
        text = self.given(value)
        return f"{text} point" if (text, self.difference) == ("1", " points") else text + self.difference


def unit(metric: str) -> Unit:
    """Accuracies in per cent and points, seconds as such, anything else as it is."""
    last = metric.rsplit("_", 1)[-1].lower()
    if last in FRACTIONS:
        return Unit(100.0, "%", " points")
    return Unit(1.0, " s", " s") if last == "seconds" else Unit(1.0, "", "")


def metric(name: str) -> str:
    """'test_accuracy' -> 'test accuracy'."""
    return name.replace("_", " ")


def p(value: float) -> str:
    """'p = 0.03', 'p < 0.001'."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}" if value < 0.995 else "p = 1"


def count(n: int, noun: str) -> str:
    """'1 run', '2 runs'."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def selection(selector: Mapping, labels: Mapping[str, str]) -> str:
    """'dense=1024, learning_rate=0.1 or 0.01, epoch 3'; `labels` by factor key."""
    parts = [_part(labels.get(key, key), value) for key, value in selector.items()]
    return ", ".join(parts)


def factor(claim: Mapping, labels: Mapping[str, str]) -> str:
    """What a claim about an order calls its factor."""
    return claim.get("called") or labels.get(claim["factor"], claim["factor"])


def side(selector: Mapping, labels: Mapping[str, str]) -> str:
    """'with dense=1024', 'at epoch 3'."""
    return f"{'at' if set(selector) <= {'epoch', 'step'} else 'with'} {selection(selector, labels)}"


def among(where: Mapping, labels: Mapping[str, str]) -> str:
    """' where dense=1024, at epoch 3', or nothing."""
    settings = {key: value for key, value in where.items() if key not in ("epoch", "step")}
    text = f" where {selection(settings, labels)}" if settings else ""
    moments = [
        f"{'in' if isinstance(value, Mapping) else 'at'} {_part(key, value)}"
        for key, value in where.items()
        if key not in settings
    ]
    return ", ".join([text, *moments]) if moments else text


def _part(label: str, value) -> str:
    if isinstance(value, Mapping):
        return f"the change from {_moment(label, value['from'])} to {_moment(label, value['to'])}"
    if label in ("epoch", "step"):
        return _moment(label, value)
    if isinstance(value, list):
        return f"{label}={' or '.join(str(tidy.simple(v)) for v in value)}"
    return f"{label}={tidy.simple(value)}"


def _moment(axis: str, value) -> str:
    named = {"last": f"the last {axis}", "peak": f"the {axis} that is best on average"}
    return named[value] if isinstance(value, str) else f"{axis} {value:g}"
