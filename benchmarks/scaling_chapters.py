"""The tables of docs/scaling.md: what costs.json and fleet.json say, which the terminal shows too."""

import math
from collections.abc import Mapping, Sequence

from benchmarks import cost_fit, cost_model, record
from benchmarks.neighbours import QUIET
from benchmarks.tables import Table

PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
SPANS = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"))
MOVED = 0.01  # a change of time that is shown
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


def of_part(found: Mapping, part: str) -> list[Mapping]:
    """The simulations of fleet.json that are for one chapter."""
    return [one for one in found["rows"] if one["part"] == part]


def base_rate(found: Mapping) -> float:
    """Preemptions an hour of what is looked at closely."""
    return of_part(found, "halved")[0]["preemptions_an_hour"]


def _alike(rows: Sequence[Mapping], *keys: str) -> dict[tuple, list[Mapping]]:
    """Values of keys -> the rows that have them."""
    found: dict[tuple, list[Mapping]] = {}
    for one in rows:
        found.setdefault(tuple(one[key] for key in keys), []).append(one)
    return found


def _assumed(found: Mapping) -> dict[str, Mapping]:
    """Name -> kind of device, of those that are assumed."""
    return {kind["name"]: kind for kind in found["assumed"]["kinds"] if kind["assumed"]}


def sizes(found: Mapping) -> list[Table | str]:
    """Time and waste against devices, by rate and by what could be done."""
    parts, base, assumed = [], base_rate(found), _assumed(found)
    for (workload, kind), rows in _alike(of_part(found, "fleets"), "workload", "kind").items():
        first, *others = dict.fromkeys(one["way"] for one in rows)
        rates = sorted({one["preemptions_an_hour"] for one in rows})
        by = {(one["way"], one["preemptions_an_hour"], one["devices"]): one for one in rows}
        columns = {(first, rate): f"preempted {rate_words(rate)}" for rate in rates}
        columns |= {(way, base): f"{way}, {rate_words(base)}" for way in others}
        lines = []
        for count in sorted({one["devices"] for one in rows}):
            alone = span(by[first, rates[0], count]["alone_seconds"])
            lines.append([f"{count:,}", alone, *(_time(by[(*column, count)]) for column in columns)])
        title = f"{NAMES[workload]}; {kind}"
        title += f" (ASSUMED: {assumed[kind]['speed']:g} times a core)" if kind in assumed else ""
        parts.append(Table(title, ["devices", "the work alone", *columns.values()], lines))
    return parts


def causes(found: Mapping) -> list[Table | str]:
    """Where the device-hours went, of fleets of cores."""
    parts, base, assumed = [], base_rate(found), _assumed(found)
    for (workload, kind, way), rows in _alike(of_part(found, "fleets"), "workload", "kind", "way").items():
        rows = [one for one in rows if one["preemptions_an_hour"] == base and kind not in assumed]
        shares = [{name: value / one["device_seconds"] for name, value in one["spent"].items()} for one in rows]
        names = [name for name in (shares[0] if shares else ()) if any(of[name] >= SHOWN for of in shares)]
        lines = [
            [f"{one['devices']:,}", f"{one['device_seconds'] / 3600:,.0f}", *(f"{of[name]:.1%}" for name in names)]
            for one, of in zip(rows, shares, strict=True)
        ]
        if lines:
            title = f"{NAMES[workload]}; {kind}, {way}; preempted {rate_words(base)}"
            parts.append(Table(title, ["devices", "device-hours", *names], lines))
    return parts


def bottlenecks(found: Mapping) -> list[Table | str]:
    """Time with a cost halved, over time as it is."""
    parts = []
    for (workload,), rows in _alike(of_part(found, "halved"), "workload").items():
        columns = _alike(rows, "way", "devices")
        ratios = {column: _ratios(of) for column, of in columns.items()}
        least = {
            column: min((ratio for name, ratio in of.items() if ratio and not name.startswith("(")), default=None)
            for column, of in ratios.items()
        }
        lines = []
        for name in next(iter(ratios.values())):
            values = {column: of[name] for column, of in ratios.items()}
            if any(value and abs(value - 1) >= MOVED for value in values.values()):
                shown = [f"{value:.2f}" if value else "–" for value in values.values()]
                top = [value is not None and value == least[column] for column, value in values.items()]
                lines.append([name, *(f"**{text}**" if best else text for text, best in zip(shown, top, strict=True))])
        headings = [f"{way}, {count:,} devices" for way, count in columns]
        parts.append(Table(f"{NAMES[workload]}: time with a cost halved", ["halved", *headings], lines))
    return parts


def _ratios(rows: Sequence[Mapping]) -> dict[str, float | None]:
    """What was changed -> time over the time without; None, where one of both was given up."""
    usual = next(one["seconds"] for one in rows if not one["changed"])
    others = {one["changed"]: one["seconds"] for one in rows if one["changed"]}
    return {name: seconds / usual if seconds and usual else None for name, seconds in others.items()}


def cuts(found: Mapping) -> list[Table | str]:
    """Time and waste by the runs of a group and the checkpoints of a run."""
    parts = []
    keys = ("workload", "way", "preemptions_an_hour")
    for (workload, way, rate), rows in _alike(of_part(found, "cuts"), *keys).items():
        by = {(one["of_group"], one["checkpoints"]): one for one in rows}
        counts = sorted({one["checkpoints"] for one in rows})
        lines = [
            [f"{runs:,}", *(_time(by[runs, count]) for count in counts)]
            for runs in sorted({one["of_group"] for one in rows})
        ]
        fleet = f"{rows[0]['devices']:,} {rows[0]['kind']}"
        headings = ["runs of a group", *(f"{n} checkpoint{'s' * (n > 1)} a run" for n in counts)]
        parts.append(Table(f"{NAMES[workload]}; {fleet}, preempted {rate_words(rate)}, {way}", headings, lines))
    return parts
