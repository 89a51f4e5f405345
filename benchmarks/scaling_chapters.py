"""The tables of docs/scaling.md that say what costs.json has; the terminal shows them too."""

import math
from collections.abc import Mapping, Sequence

from benchmarks import neighbours, record
from benchmarks.costs import fit as cost_fit
from benchmarks.costs import model as cost_model
from benchmarks.neighbours import QUIET
from benchmarks.tables import Table

PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
SPANS = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"))


def small(seconds: float) -> str:
    """0.0000123 -> 12.3 µs."""
    if not seconds:
        return "0"
    scale, prefix = next((one for one in PREFIXES if seconds >= one[0]), PREFIXES[-1])
    return f"{digits(seconds / scale)} {prefix}s"


def span(seconds: float | None) -> str:
    """5400 -> 1.50 h; None, of what was given up: –."""
    if seconds is None:
        return "–"
    scale, unit = next((one for one in SPANS if seconds >= one[0]), (1.0, "s"))
    return f"{digits(seconds / scale)} {unit}"


def size(count: float) -> str:
    """1234567 -> 1.23 MB."""
    scale, unit = next(
        (one for one in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= one[0]), (1, "B")
    )
    return f"{digits(count / scale)} {unit}"


def digits(value: float) -> str:
    """Three of them."""
    places = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(places, 6)}f}"


def costs(found: Mapping) -> list[Table | str]:
    """All of costs.json."""
    return [*model(found), *predictions(found), *traffic(found), *books(found)]


def model(found: Mapping) -> list[Table | str]:
    """The terms, and how well they fit."""
    own, units = found["costs"], cost_model.units()
    rows = [[name, small(value), unit] for name, unit in units.items() if (value := own["coefficients"].get(name, 0.0))]
    parts = [Table("What the terms came to", ["term", "one takes", "which is"], rows)]
    rows = [[f"{family} program, {what}", small(of[what])] for family, of in own["compile"].items() for what in of]
    rows += [["start of a process, to its first group", small(own["start"])]]
    rows += [["its end, tables without a page", f"{small(own['end'])} and {small(own['end_run'])} a run"]]
    parts.append(Table("Beside them", ["", "seconds"], rows))
    for key, words in (("fitted", "as fitted"), ("left_out", "by a fit of all the others")):
        off = sorted(abs(one[key] - 1) for one in own["fit"])
        within = sum(one <= cost_fit.WITHIN for one in off)
        parts.append(
            f"{len(off)} trainings and tests of groups, {words}: the middle one is off by {off[len(off) // 2]:.0%}, "
            f"the worst by {off[-1]:.0%}; {within} are within {cost_fit.WITHIN:.0%}."
        )
    return [*parts, *_disturbed([one for of in found["observed"].values() for one in cost_fit.best(of)])]


def _disturbed(turns: Sequence[Mapping]) -> list[str]:
    used = [one["others"] for one in turns]
    if disturbed := sum(share > QUIET for share in used):
        most = f"other processes had up to {max(used):.0%} of the cores"
        return [f"**{disturbed} of {len(used)} turns were disturbed**: {most}."]
    return []


def predictions(found: Mapping) -> list[Table | str]:
    """What was said of studies that nothing was fitted to."""
    rows = []
    for one in found["predictions"]:
        off = abs(one["ratio"]["median"] - 1)
        both = [f"{one[key]['seconds']:.1f} s" for key in ("predicted", "measured")]
        ratios = [record.counted(one["ratio"], ""), record.ranged(one["training"], "")]
        verdict = "yes" if off <= cost_fit.WITHIN else "**no**"
        rows.append([one["study"], "cold" if one["cold"] else "warm", *both, *ratios, verdict])
    headings = ["study", "programs", "predicted", "measured", "predicted / measured", "its training", "within 20%"]
    return [Table("", headings, rows)]


def traffic(found: Mapping) -> list[Table | str]:
    """Bytes."""
    of, rows = found["traffic"], []
    for way in ("written", "read"):
        for name, value in of[way]["terms"].items():
            shown = f"{value:.2f}" if "byte" in name else size(value)
            rows.append([f"{way}, a {name}", shown])
    ratios = [ratio for way in ("written", "read") for ratio in of[way]["predicted"].values()]
    said = f"Of the unseen studies, predicted / measured: {min(ratios):.2f} to {max(ratios):.2f}." if ratios else ""
    kinds = {
        "rows": "its rows, an evaluation",
        "done": "done.json",
        "test": "test.json",
        "predictions": "predictions.npz",
        "checkpoint": "a checkpoint, a byte of its state",
    }
    kept = [
        [words, f"{of['files'][kind]['median']:.2f}" if kind == "checkpoint" else size(of["files"][kind]["median"])]
        for kind, words in kinds.items()
    ]
    return [
        Table("Through the process's hands", ["", "bytes"], rows),
        said,
        Table("What a run leaves", ["", "bytes"], kept),
    ]


def books(found: Mapping) -> list[Table | str]:
    """What grows with the study."""
    rows = []
    for name, of in found["bookkeeping"].items():
        what, unit = name.rsplit(" ", 1)
        shown = {"seconds": small, "bytes": size, "operations": digits}[unit]
        terms = [f"{shown(value)} a {term}" for term, value in of["terms"].items() if value]
        off = record.ranged(of["predicted"], "") if of["predicted"] else ""
        rows.append([what, unit, "; ".join(terms), off])
    used = [one for of in cost_fit.alike(found["books"]).values() for one in neighbours.best(of)]
    return [Table("", ["what", "in", "terms", "of a larger study, predicted / measured"], rows), *_disturbed(used)]
