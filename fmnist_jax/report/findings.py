"""The answer in words: verdicts of claims, the best arm, and what is not distinguishable from it."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from fmnist_jax import tidy
from fmnist_jax.analysis import Analysis, Verdict
from fmnist_jax.report import axes, effects, words

VERDICTS = ("replicated", "not replicated", "inconclusive", "not judged")
MAX_NEAR = 12


def tally(verdicts: Sequence[Verdict]) -> list[tuple[str, int]]:
    """How many claims came to each verdict."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]


def claims(study: tidy.Study, verdicts: Sequence[Verdict]) -> list[dict]:
    """The verdicts, written out; what an effect is of follows from the kind of its claim."""
    pairs = itertools.zip_longest(verdicts, study.claims[: len(verdicts)], fillvalue={})
    return [_claim(verdict, claim, _is_share(study, verdict.metric)) for verdict, claim in pairs]


def _is_share(study: tidy.Study, metric: str) -> bool:
    """Also of a metric that is none of `Study.metrics`, such as the recall of a class."""
    return any(words.is_share(metric, table[metric]) for table in (study.runs, study.curves) if metric in table)


def _claim(verdict, claim: dict, share: bool) -> dict:
    effect = effects.of(verdict.metric, share, claim)
    numbers = (verdict.low, verdict.effect, verdict.high)
    whole = all(map(words.known, numbers))
    return {
        "name": verdict.name,
        "ours": verdict.ours,
        "quote": verdict.quote,
        "source": verdict.source,
        "paper": verdict.paper,
        "statement": verdict.statement,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "effect_label": effect.label,
        "effect": effect.show(verdict.effect) if words.known(verdict.effect) else "",
        "interval": f"{effect.show(verdict.low)} to {effect.show(verdict.high)}" if whole else "",
        "test": _test(verdict),
        "forest": _forest(*numbers, effect.reference) if whole else None,
        "reference": effect.show(effect.reference),
    }


def _test(verdict) -> str:
    adjusted = words.p_value(verdict.adjusted_p)
    equals = "" if adjusted.startswith("<") else "= "
    parts = [f"adjusted p {equals}{adjusted}"] if words.known(verdict.p) else []
    return ", ".join([*parts, f"n = {verdict.n:,}"] if verdict.n else parts)


def _forest(low: float, effect: float, high: float, reference: float) -> dict:
    """Places in percent of an interval, its middle and the reference on one axis."""
    left, right = min(low, reference), max(high, reference)
    width = (right - left) or 1
    places = {"low": low, "effect": effect, "high": high, "reference": reference}
    return {name: round(4 + 92 * (value - left) / width, 2) for name, value in places.items()}


def best(analysis: Analysis) -> dict | None:
    """The best arm (or the only one), its mean, and the arms that cannot be told from it."""
    study, rows = analysis.study, axes.ranked(analysis)
    arm = analysis.best or (study.arms[0] if len(study.arms) == 1 else None)
    mine = rows[rows["arm"] == arm]
    if arm is None or not len(mine):
        return None
    row = mine.iloc[0]
    share = words.shares(study).get(study.metric, False)
    near = analysis.near
    only = len(study.arms) == 1
    return {
        "title": "The one arm" if only else "The best arm",
        "arm": arm,
        "mean": words.number(row["mean"], share) + ("%" if share else ""),
        "metric": words.metric_label(study.metric),
        "detail": _detail(row, share, "" if only else study.select_by),
        "sentence": "" if only else _sentence(analysis, near),
        "difference_label": "Difference, points" if share else "Difference",
        "near": [_near(row, share) for row in _nearest(analysis.comparisons, near)],
        "note": _near_note(near),
    }


def _detail(row: pd.Series, share: bool, select_by: str) -> str:
    parts = [f"95% interval {words.interval(row['low'], row['high'], share)}", f"n = {int(row['n'])}"]
    if select_by:
        parts.append(f"chosen by mean {words.metric_label(select_by)}")
    return "; ".join(parts)


def _sentence(analysis: Analysis, near: list[str]) -> str:
    others = len(analysis.comparisons)
    if not others:
        return ""
    untested, told = len(analysis.untested), int(analysis.comparisons["distinguishable"].sum())
    parts = []
    if told == others:
        parts.append(
            f"It is distinguishable from {'the other' if others == 1 else f'each of the {others:,} others'} "
            "(Holm-adjusted p < 0.05)."
        )
    if untested:
        parts.append(
            f"Of {words.plural(untested, 'other arm')} no test is possible: one repeat, or the same difference "
            "in every one."
        )
    if near:
        parts.append(
            f"{len(near):,} of the {words.plural(others, 'other')} {'is' if len(near) == 1 else 'are'} "
            "not distinguishable from it:"
        )
    return " ".join(parts)


def _nearest(table: pd.DataFrame, arms: list[str]) -> list[dict]:
    """The comparisons of these arms, the smallest difference first; as many as are shown."""
    rows = table[table["arm"].isin(arms)]
    return rows.sort_values("difference", key=abs, kind="stable").head(MAX_NEAR).to_dict("records")


def _near(row: dict, share: bool) -> dict:
    needed = row["seeds_needed"]
    return {
        "arm": row["arm"],
        "difference": effects.signed(row["difference"], share),
        "interval": _interval(row["low"], row["high"], share),
        "adjusted_p": words.p_value(row["adjusted_p"]),
        "seeds_needed": f"{math.ceil(needed):,}" if words.known(needed) else words.NOTHING,
    }


def _interval(low: float, high: float, share: bool) -> str:
    known = words.known(low) and words.known(high)
    return f"{effects.signed(low, share)} to {effects.signed(high, share)}" if known else words.NOTHING


def _near_note(near: list[str]) -> str:
    more = f" {len(near) - MAX_NEAR:,} more are marked blue in the summary." if len(near) > MAX_NEAR else ""
    return f"Repeats needed: in all, to tell a difference of this size among so many arms, with 80% power.{more}"
