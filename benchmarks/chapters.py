"""The chapters of docs/performance.md: what each results file says, as tables, which the terminal shows too."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from benchmarks import record, tables
from benchmarks.cases import OURS
from benchmarks.tables import Table


def throughput(found: Mapping) -> list[Table]:
    """A table a case, and one of what calibration chose."""
    return [*map(_case, found["cases"]), _calibration(found["cases"])]


def _case(case: Mapping) -> Table:
    title = f"{case['workload']}, batch {case['batch']}, {case['runs']} runs, {case['mode']}ped"
    title += " (SYNTHETIC DATA)" if case["dataset"]["synthetic"] else ""
    title += f"; accuracy after {case['accuracy_steps']:,} steps" if case["accuracy_steps"] else ""
    rows = []
    for name, one in case["contenders"].items():
        shown, ratio = (f"**{OURS}**", "") if name == OURS else (name, record.ranged(one["ours_is"]))
        speed = record.counted(one["images_per_second"], "")
        rows.append([shown, one["how"], speed, ratio, _accuracy(one["test_accuracy"])])
    return Table(title, ["", "how", "images/s", "ours is", "test accuracy"], rows)


def _accuracy(of: Mapping | None) -> str:
    return f"{100 * of['mean']:.2f}% ± {100 * of['sd']:.2f}, n {of['n']}" if of else "not run"


def _calibration(cases: Sequence[Mapping]) -> Table:
    rows = []
    for case in cases:
        for rival in dict.fromkeys(one["rival"] for one in case["calibration"]):
            tried = [one["images_per_second"] for one in case["calibration"] if one["rival"] == rival]
            speeds = sorted(rate for rate in tried if not isinstance(rate, str))
            how = case["contenders"][rival]["how"] if speeds else "none works"
            spread = f"{speeds[0]:,.0f}–{speeds[-1]:,.0f}" if speeds else ""
            count = str(len(tried)) + (f", {len(tried) - len(speeds)} failed" if len(speeds) < len(tried) else "")
            rows.append([_named(case), rival, how, count, spread])
    headings = ["workload", "rival", "best", "ways tried", "images/s, slowest–fastest"]
    return Table("What calibration chose", headings, rows)


def _named(case: Mapping) -> str:
    return f"{case['workload']}, batch {case['batch']}"


def roofline(found: Mapping) -> list[Table]:
    """The share of the machine's limit that each case reached."""
    rows = []
    for case in found["cases"]:
        flops, limit = (
            f"{case['flops_per_image'] / 1e6:,.3g} MFLOP",
            f"{max(case['matmul_gflops'].values()):,.0f} GFLOP/s",
        )
        rows.append([_named(case), flops, limit, record.counted(case["share_of_limit"], "%")])
    return [Table("", ["workload", "an image takes", "fastest float32 product", "share of it"], rows)]


def scaling(found: Mapping) -> list[Table]:
    """Speed by cores, and the cost of N runs in a group."""
    parts = []
    if of := found.get("cores"):
        rows = [[row["name"], *_pair(row, "times_one_core")] for row in of["rows"]]
        title = f"{of['workload']}, {of['runs']} runs, by cores"
        parts.append(Table(title, ["", "images/s", "times one core"], rows))
    for of in found.get("runs", ()):
        rows = [[str(row["runs"]), *_pair(row, "cost")] for row in of["rows"]]
        title = f"{of['workload']}, N runs in one group"
        parts.append(Table(title, ["N", "images/s", "time over N times one run's"], rows))
    return parts


def _pair(row: Mapping, ratio: str) -> list[str]:
    return [record.counted(row["images_per_second"], ""), record.ranged(row[ratio])]


def memory(found: Mapping) -> list[Table]:
    """What --plan says, and what was needed."""
    parts = []
    for of in found["studies"]:
        rows = [
            [str(row["runs"]), *(f"{row[key] / 1e9:.2f} GB" for key in ("estimated", "measured")), f"{row['off']:+.1%}"]
            for row in of["rows"]
        ]
        title = f"{of['workload']}, a study of {of['duration']}"
        parts.append(Table(title, ["N", "--plan says", "peak of the study", "off by"], rows))
    return parts


def startup(found: Mapping) -> list[Table]:
    """Both starts, in seconds."""
    rows = []
    for key, ratio in found["second_over_first"].items():
        both = [record.ranged(of[key], " s") for of in found["starts"].values()]
        rows.append([key.removesuffix("_seconds").replace("_", " "), *both, record.counted(ratio)])
    return [Table("", [f"`{found['config']}`", "first start", "second start", "second / first"], rows)]


def overhead(found: Mapping) -> list[Table | str]:
    """Where the time of a study went, and the cross-check."""
    rounds, rows = found["rounds"], []
    for stage in rounds[0]["stages"]:
        sums = [record.summary([one["stages"][stage][key] for one in rounds]) for key in ("wall", "outside")]
        rows.append([stage, *(record.ranged(of, "") for of in sums)])
    by_bare = record.counted(found["outside_training_by_bare"], "%")
    title = f"{found['workload']}, {found['runs']} runs, {found['duration']}"
    return [
        Table(title, ["seconds", "wall, less compiling", "outside the compiled program"], rows),
        f"Of training alone, against bare epochs: {by_bare}.",
    ]


def ideas(found: Mapping) -> list[Table]:
    """An idea a row."""
    rows = [
        [one["idea"], one["what"], record.counted(one["ratio"]) if one["ratio"] else "failed", one["note"]]
        for one in found["ideas"]
    ]
    return [Table("", ["idea", "what", "times as fast as without", "note"], rows)]


def crossover(found: Mapping) -> list[Table]:
    """Mapped against vmapped runs, by the size of the network, beside what the rule says."""
    rows = []
    for one in found["crossover"]:
        sizes = [*(f"conv{n}" for n in one["model"].get("filters", ())), *map(str, one["model"]["dense"]), "10"]
        numbers = [f"{one[key]:,.0f}" for key in ("forward_flops", "map", "vmap")]
        rows.append([", ".join(sizes), *numbers, record.ranged(one["vmap_over_map"]), one["rule"]])
    headings = ["network", "forward FLOPs", "mapped, steps/s", "vmapped, steps/s", "vmapped / mapped", "the rule takes"]
    return [Table("", headings, rows)]


def scale(found: Mapping) -> list[Table]:
    """From the disk to the page."""
    seconds = [f"{found[key]:g} s" for key in ("read_seconds", "statistics_seconds", "everything_seconds")]
    row = [f"{found['runs']:,}", *seconds, f"{found['peak_gb']:g} GB", f"{found['page_mb']:g} MB"]
    return [Table("", ["runs", "reading", "statistics", "to the page", "peak", "page"], [row])]


def gpu(found: Mapping) -> list[Table | str]:
    """The forms of a population, the rivals of the best, and the line for the measured table."""
    parts = [f"{found['device']}, products as {found['precision']}; measured table: `{found['line']}`"]
    for case in found["forms"]:
        rows = [[f"{row['mode']}, {row['conv']}", *_pair(row, "of_best")] for row in case["forms"]]
        parts.append(_of_gpu(case, "forms", "of the best", rows))
    for case in found["rivals"]:
        rows = [[name, *_pair(row, "ours_is")] for name, row in case["contenders"].items()]
        parts.append(_of_gpu(case, "rivals", "ours is", rows))
    return parts


def _of_gpu(case: Mapping, what: str, ratio: str, rows: list) -> Table:
    failed = [[name, "failed", why] for name, why in case["failed"].items()]
    return Table(f"{case['workload']}, {case['runs']} runs: {what}", ["", "images/s", ratio], [*rows, *failed])


# Heading, which is also that of its prose -> (results file, what makes its tables, its picture: name and words).
SECTIONS = {
    "against rivals": ("throughput", throughput, ("throughput", "images a second of each contender")),
    "the machine's limit": (
        "throughput",
        roofline,
        ("roofline", "speed against operations a byte, below the machine's limits"),
    ),
    "scaling": ("scaling", scaling, ("scaling", "images a second against runs in a group, and against cores")),
    "memory": ("memory", memory, None),
    "second start": ("startup", startup, None),
    "time outside the compiled program": ("overhead", overhead, None),
    "ideas": ("ideas", ideas, None),
    "mapped or vmapped": ("crossover", crossover, None),
    "tens of thousands of runs": ("scale", scale, None),
    "on a GPU": ("gpu", gpu, None),
}


def show(name: str, found: Mapping, console: Console) -> None:
    """What a results file says, in the terminal: its tables and its goals."""
    tables.show([part for file, make, _ in SECTIONS.values() if file == name for part in make(found)], console)
    if found.get("goals"):
        tables.show_goals(found["goals"], console)
