"""How numbers, metrics and factor values are written, in Python; `assets/format.js` does the same in the browser."""

import math
import shlex

import pandas as pd

from fmnist_jax import tidy

# Metrics that read as percentages, by the last word of their name, where all values lie in [0, 1].
SHARES = ("accuracy", "acc", "error", "ece", "precision", "recall", "f1", "top1", "top5")
NOTHING = "–"
TIMES = {"alone_seconds": "training time of a run alone", "train_seconds": "training time of a run"}


def is_share(metric: str, values) -> bool:
    """Whether a metric is shown in percent: its name says so and its finite values lie in [0, 1]."""
    values = pd.Series(values, dtype=float).dropna()
    named = metric.rsplit("_", 1)[-1].lower() in SHARES
    return bool(named and len(values) and values.between(0, 1).all())


def shares(study: tidy.Study) -> dict[str, bool]:
    """Metric -> whether it is shown in percent."""
    return {m: is_share(m, study.runs[m]) for m in study.metrics}


def known(value) -> bool:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def metric_label(metric: str, share: bool = False) -> str:
    """'test_accuracy' -> 'test accuracy', with its unit where it has one: 'test accuracy (%)'."""
    if metric in TIMES:
        return TIMES[metric].replace(" of a run", "") + " (s)"
    return metric.replace("_", " ") + (" (%)" if share else "")


def number(value, share: bool = False) -> str:
    """A metric's value: percentages with two decimals (92.61), anything else with four digits (0.2120, 12.35)."""
    if not known(value):
        return NOTHING
    if share:
        return f"{100 * value:.2f}"
    size = abs(value)
    if size == 0 or 1e-3 <= size < 1:
        return f"{value:.4f}"
    return f"{value:,.0f}" if 1e3 <= size < 1e9 else f"{value:.4g}"


def interval(low, high, share: bool = False) -> str:
    """'92.43 – 92.79'; a dash where there is none."""
    if not (known(low) and known(high)):
        return NOTHING
    return f"{number(low, share)} – {number(high, share)}"


def factor_label(factor: str) -> str:
    """'model.init_stddev' -> 'init stddev', 'loss.name' -> 'loss'."""
    return factor.removesuffix(".name").rpartition(".")[2].replace("_", " ")


def factor_value(value, digits: int = 4) -> str:
    """A factor's value as a label: numbers with so many digits, everything else as it is."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return "none"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def p_value(p) -> str:
    """'0.031', '< 0.001'; a dash where there is none."""
    if not known(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value) -> str:
    """'8.2 s', '1 min 33 s', '2 h 05 min'."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plural(n: int, noun: str) -> str:
    """'1 run', '1,250 runs'."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def command(value) -> str:
    """A command as one line for a shell; lists are quoted."""
    return value if isinstance(value, str) else shlex.join(str(part) for part in value)
