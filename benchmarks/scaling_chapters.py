"""The tables of docs/scaling.md: what costs.json and fleet.json say, which the terminal shows too."""

import math
from collections.abc import Mapping, Sequence

from benchmarks import cost_fit, cost_model, record
from benchmarks.neighbours import QUIET
from benchmarks.tables import Table

PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
SPANS = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"))
SHOWN = 0.005  # of all device-hours: a cause that has less everywhere gets no column
NAMES = {"cnn": "alexander CNN, 3 epochs", "mlp": "784-10-10 MLP, 15,000 steps"}


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
    used = [one["others"] for of in found["observed"].values() for one in cost_fit.best(of)]
    if disturbed := sum(share > QUIET for share in used):
        most = f"other processes had up to {max(used):.0%} of the cores"
        parts.append(f"**{disturbed} of {len(used)} turns were disturbed**: {most}.")
    return parts


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
    return [Table("", ["what", "in", "terms", "of a larger study, predicted / measured"], rows)]


def fleet(found: Mapping) -> list[Table | str]:
    """All of fleet.json."""
    return [*sizes(found), *causes(found), *bottlenecks(found), *cuts(found)]


def rate_words(an_hour: float) -> str:
    """never | 1 a day | 6 an hour."""
    if not an_hour:
        return "never"
    return f"{an_hour:g} an hour" if an_hour >= 1 else f"{24 * an_hour:g} a day"


def _time(row: Mapping | None) -> str:
    """Time, and waste."""
    return f"{span(row['seconds'])}, {row['waste']:.0%}" if row and row["seconds"] else "–"


def sizes(found: Mapping) -> list[Table | str]:
    """Time and waste against devices, by rate and by what could be done."""
    parts = []
    for workload, kind in _pairs(found):
        rows = [one for one in found["fleets"] if (one["workload"], one["kind"]) == (workload, kind)]
        ways = list(dict.fromkeys(one["way"] for one in rows))
        rates = sorted({one["preemptions_an_hour"] for one in rows})
        columns = [(ways[0], rate) for rate in rates] + [(way, base_rate(found)) for way in ways[1:]]
        by = {(one["way"], one["preemptions_an_hour"], one["devices"]): one for one in rows}
        lines = [
            [
                f"{count:,}",
                span(by[columns[0] + (count,)]["alone_seconds"]),
                *(_time(by.get((*c, count))) for c in columns),
            ]
            for count in sorted({one["devices"] for one in rows})
        ]
        headings = [
            f"preempted {rate_words(rate)}" if way == ways[0] else f"{way}, {rate_words(rate)}" for way, rate in columns
        ]
        assumed = {one["name"]: one for one in found["assumed"]["kinds"]}[kind]
        title = f"{NAMES[workload]}; {kind}"
        title += f" (ASSUMED: {assumed['speed']:g} times a core)" if assumed["assumed"] else ""
        parts.append(Table(title, ["devices", "the work alone", *headings], lines))
    return parts


def base_rate(found: Mapping) -> float:
    """Preemptions an hour of what is looked at closely."""
    rates = {one["preemptions_an_hour"] for one in found["fleets"]}
    return 1.0 if 1.0 in rates else max(rates)


def _pairs(found: Mapping) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one["workload"], one["kind"]) for one in found["fleets"]))


def causes(found: Mapping) -> list[Table | str]:
    """Where the device-hours went, of fleets of cores that are preempted once an hour."""
    parts, base = [], base_rate(found)
    for workload, kind in _pairs(found):
        if {one["name"]: one for one in found["assumed"]["kinds"]}[kind]["assumed"]:
            continue
        for way in dict.fromkeys(one["way"] for one in found["fleets"]):
            of_way = {"workload": workload, "kind": kind, "way": way, "preemptions_an_hour": base}
            rows = [one for one in found["fleets"] if of_way.items() <= one.items()]
            shares = [{name: value / one["device_seconds"] for name, value in one["spent"].items()} for one in rows]
            names = [name for name in shares[0] if any(of[name] >= SHOWN for of in shares)]
            lines = [
                [f"{one['devices']:,}", f"{one['device_seconds'] / 3600:,.0f}", *(f"{of[name]:.1%}" for name in names)]
                for one, of in zip(rows, shares, strict=True)
            ]
            title = f"{NAMES[workload]}; {kind}, {way}; preempted {rate_words(base)}"
            parts.append(Table(title, ["devices", "device-hours", *names], lines))
    return parts


def bottlenecks(found: Mapping) -> list[Table | str]:
    """Time with a cost halved, over time as it is."""
    parts = []
    for workload in dict.fromkeys(one["workload"] for one in found["halved"]):
        of = [one for one in found["halved"] if one["workload"] == workload]
        columns = list(dict.fromkeys((one["way"], one["devices"]) for one in of))
        by = {(one["cost"], one["way"], one["devices"]): one["seconds"] for one in of}
        lines = []
        for cost in dict.fromkeys(one["cost"] for one in of):
            values = [by[(cost, *column)] for column in columns]
            if any(value is not None and abs(value - 1) >= 0.01 for value in values):
                best = [
                    value is not None and value == _least(by, column)
                    for value, column in zip(values, columns, strict=True)
                ]
                shown = ["–" if value is None else f"{value:.2f}" for value in values]
                lines.append([cost, *(f"**{one}**" if top else one for one, top in zip(shown, best, strict=True))])
        headings = [f"{way}, {count:,} devices" for way, count in columns]
        parts.append(Table(f"{NAMES[workload]}: time with a cost halved", ["halved", *headings], lines))
    return parts


def _least(by: Mapping, column: Sequence) -> float | None:
    """The least of the costs' ratios; what is changed otherwise (in brackets) is none."""
    values = [value for (cost, *of), value in by.items() if tuple(of) == tuple(column) and not cost.startswith("(")]
    return min((value for value in values if value is not None), default=None)


def cuts(found: Mapping) -> list[Table | str]:
    """Time and waste by the runs of a group and the checkpoints of a run."""
    parts = []
    keys = ("workload", "way", "preemptions_an_hour")
    for workload, way, rate in dict.fromkeys(tuple(one[key] for key in keys) for one in found["cuts"]):
        of = [one for one in found["cuts"] if tuple(one[key] for key in keys) == (workload, way, rate)]
        by = {(one["of_group"], one["checkpoints"]): one for one in of}
        counts = sorted({one["checkpoints"] for one in of})
        lines = [
            [f"{runs:,}", *(_time(by[runs, count]) for count in counts)]
            for runs in sorted({one["of_group"] for one in of})
        ]
        title = f"{NAMES[workload]}; {of[0]['devices']:,} {of[0]['kind']}, preempted {rate_words(rate)}, {way}"
        headings = ["runs of a group", *(f"{n} checkpoint{'s' * (n > 1)} a run" for n in counts)]
        parts.append(Table(title, headings, lines))
    return parts
