"""The tables of docs/scaling.md that say what fleet.json has; the terminal shows them too."""

from collections.abc import Mapping, Sequence

from benchmarks import record
from benchmarks.fleet.model import CAUSES
from benchmarks.scaling_chapters import digits, size, small, span
from benchmarks.tables import Table

MOVED = 0.01  # a change of time that is shown
SHOWN = 0.005  # of all device-hours: a cause that has less everywhere gets no column
NAMES = {"cnn": "alexander CNN, 3 epochs", "mlp": "784-10-10 MLP, 15,000 steps"}
COSTS = {  # field of benchmarks.fleet.model.Costs -> what it is called, and how it is said
    "segment": ("training a group to its next checkpoint", small),
    "checkpoint": ("a checkpoint, on the host", small),
    "checkpoint_bytes": ("... on the disk", size),
    "start": ("starting a process", small),
    "start_operations": ("... operations on the disk", digits),
    "begin": ("its turn, one process at a time", small),
    "make": ("the first one's, more", small),
    "look": ("a look for a group", small),
    "look_trained": ("... more, a group that is trained", small),
    "look_operations": ("... operations on the disk", digits),
    "look_operations_held": ("... more, a group that another has", digits),
    "compile": ("compiling a program", small),
    "load": ("... or loading it", small),
    "test_compile": ("... of a test, more", small),
    "group": ("opening and closing a group", small),
    "restore": ("restoring one", small),
    "test": ("testing one", small),
    "test_operations": ("... operations on the disk, beside what it writes", digits),
    "test_operations_each": ("... of a process, more, a group that there is", digits),
    "tables": ("the tables", small),
}


def fleet(found: Mapping) -> list[Table | str]:
    """All of fleet.json."""
    return [*hosts(found), *sizes(found), *causes(found), *bottlenecks(found), *cuts(found)]


def hosts(found: Mapping) -> list[Table | str]:
    """What a host takes in the studies that are simulated, and what these leave on the disk."""
    names = [f"{one['workload']}, {one['kind']}" for one in found["costs"]]
    lines = [
        ["runs of a group", *(f"{one['of_group']:,}" for one in found["costs"])],
        ["groups", *(f"{one['groups']:,}" for one in found["costs"])],
        *([name, *(say(one[key]) for one in found["costs"])] for key, (name, say) in COSTS.items()),
    ]
    left = ", ".join(f"{NAMES[name]}: {size(count)}" for name, count in found["bytes_left"].items())
    here = {**found["study"], "groups": max(one["groups"] for one in found["costs"])}
    far = [f"{most:,} {what} (here {here[what]:,})" for what, most in found["measured_at_most"].items()]
    return [
        Table("What a host takes", ["", *names], lines),
        f"What the whole study leaves on the disk: {left}.",
        f"**Extrapolated**: turns, looks and tables were measured of studies of up to {', '.join(far)}.",
    ]


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
    """Time and waste against devices, by what could be done and by rate."""
    parts, assumed = [], _assumed(found)
    for (workload, kind), rows in _alike(of_part(found, "fleets"), "workload", "kind").items():
        rates = sorted({one["preemptions_an_hour"] for one in rows})
        lines = []
        for (way, count), of in _alike(rows, "way", "devices").items():
            by = {one["preemptions_an_hour"]: one for one in of}
            lines.append([way, f"{count:,}", span(of[0]["alone_seconds"]), *(_time(by.get(rate)) for rate in rates)])
        title = f"{NAMES[workload]}; {kind}"
        title += f" (ASSUMED: {assumed[kind]['speed']:g} times a core)" if kind in assumed else ""
        headings = ["", "devices", "the work alone", *(f"preempted {rate_words(rate)}" for rate in rates)]
        parts.append(Table(title, headings, lines))
    return parts


def causes(found: Mapping) -> list[Table | str]:
    """Where the device-hours went, of fleets of cores."""
    base, assumed = base_rate(found), _assumed(found)
    parts: list[Table | str] = [Table("What they are booked under", ["", "what it is"], list(CAUSES.items()))]
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
            column: min((ratio["median"] for name, ratio in of.items() if ratio and name[0] != "("), default=None)
            for column, of in ratios.items()
        }
        lines = []
        for name in next(iter(ratios.values())):
            values = {column: of[name] for column, of in ratios.items()}
            if any(_moved(value) for value in values.values() if value):
                shown = [record.ranged(value, "") if value else "–" for value in values.values()]
                top = [value is not None and value["median"] == least[column] for column, value in values.items()]
                lines.append([name, *(f"**{text}**" if best else text for text, best in zip(shown, top, strict=True))])
        headings = [f"{way}, {count:,} devices" for way, count in columns]
        parts.append(Table(f"{NAMES[workload]}: time with a cost halved", ["halved", *headings], lines))
    return parts


def _ratios(rows: Sequence[Mapping]) -> dict[str, dict | None]:
    """What was changed -> time over the time without, draw by draw; None, where one of them was given up."""
    usual = {one["draw"]: one["seconds"] for one in rows if not one["changed"]}
    found = {}
    for (name,), of in _alike([one for one in rows if one["changed"]], "changed").items():
        pairs = [(one["seconds"], usual[one["draw"]]) for one in of]
        found[name] = record.ratios(*zip(*pairs, strict=True)) if all(a and b for a, b in pairs) else None
    return found


def _moved(ratio: Mapping) -> bool:
    """Whether all draws say that it takes less, or all that it takes more, by so much that it is worth a line."""
    return ratio["max"] <= 1 - MOVED or ratio["min"] >= 1 + MOVED


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
