"""The chapters of docs/performance.md: what each results file says, as tables and pictures in Markdown."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks import record

NONE = "Not measured.\n"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def spread(of: Mapping, unit: str = "×") -> str:
    """1.31× (1.28–1.35), n 5."""
    return f"{record.ranged(of, unit)}, n {of['n']}"


def speed(of: Mapping) -> str:
    """Of images a second: median, range and n."""
    return f"{of['median']:,.0f} ({of['min']:,.0f}–{of['max']:,.0f}), n {of['n']}"


def _throughput(found: Mapping, picture: Callable) -> str:
    text = picture("throughput", "images a second of each contender")
    for case in found["cases"]:
        rows = [
            [f"**{n}**" if n == "fmnist_jax" else n, one["how"], speed(one["images_per_second"]),
             "" if n == "fmnist_jax" else record.ranged(one["ours_is"]), _accuracy(one["test_accuracy"])]
            for n, one in case["contenders"].items()
        ]  # fmt: skip
        at = f"{case['workload']}, batch {case['batch']}, {case['runs']} runs, {case['mode']}ped"
        drawn = " (SYNTHETIC DATA)" if case["dataset"]["synthetic"] else ""
        steps = f"; accuracy after {case['accuracy_steps']:,} steps" if case["accuracy_steps"] else ""
        text += f"**{at}**{drawn}{steps}\n\n"
        text += markdown(["", "how", "images/s", "ours is", "test accuracy"], rows) + "\n"
    return text + f"**What calibration chose**\n\n{_calibration(found['cases'])}"


def _accuracy(of: Mapping | None) -> str:
    if of is None:
        return "not run"
    spread = f" ± {100 * of['sd']:.2f}" if of["sd"] is not None else ""
    return f"{100 * of['mean']:.2f}%{spread}, n {of['n']}"


def _calibration(cases: Sequence[Mapping]) -> str:
    rows = []
    for case in cases:
        for rival in dict.fromkeys(one["rival"] for one in case["calibration"]):
            tried = [one["images_per_second"] for one in case["calibration"] if one["rival"] == rival]
            speeds = sorted(rate for rate in tried if not isinstance(rate, str))
            how = case["contenders"][rival]["how"] if rival in case["contenders"] else "none works"
            spread = f"{speeds[0]:,.0f}–{speeds[-1]:,.0f}" if speeds else ""
            count = str(len(tried)) + (f", {len(tried) - len(speeds)} failed" if len(speeds) < len(tried) else "")
            rows.append([f"{case['workload']}, batch {case['batch']}", rival, how, count, spread])
    return markdown(["workload", "rival", "best", "ways tried", "images/s, slowest–fastest"], rows)


def _roofline(found: Mapping, picture: Callable) -> str:
    rows = [
        [f"{case['workload']}, batch {case['batch']}", f"{case['flops_per_image'] / 1e6:,.3g} MFLOP",
         f"{max(case['matmul_gflops'].values()):,.0f} GFLOP/s", spread(case["share_of_limit"], "%")]
        for case in found["cases"]
    ]  # fmt: skip
    table = markdown(["workload", "an image takes", "fastest float32 product", "share of it"], rows)
    return picture("roofline", "speed against operations a byte, below the machine's limits") + table


def _scaling(found: Mapping, picture: Callable) -> str:
    text = picture("scaling", "images a second against runs in a group, and against cores")
    if of := found.get("cores"):
        rows = [[r["name"], speed(r["images_per_second"]), record.ranged(r["times_one_core"])] for r in of["rows"]]
        text += f"**{of['workload']}, {of['runs']} runs, by cores**\n\n"
        text += markdown(["", "images/s", "times one core"], rows) + "\n"
    for of in found.get("runs", ()):
        rows = [[str(r["runs"]), speed(r["images_per_second"]), record.ranged(r["cost"])] for r in of["rows"]]
        text += f"**{of['workload']}, N runs in one group**\n\n"
        text += markdown(["N", "images/s", "time over N times one run's"], rows) + "\n"
    return text


def _memory(found: Mapping, picture: Callable) -> str:
    text = ""
    for of in found.get("memory", ()):
        rows = [
            [r["runs"], f"{r['estimated'] / 1e9:.2f} GB", f"{r['measured'] / 1e9:.2f} GB", f"{r['off']:+.1%}"]
            for r in of["rows"]
        ]
        text += f"**{of['workload']}, a study of {of['duration']}**\n\n"
        text += markdown(["N", "--plan says", "peak of the study", "off by"], rows) + "\n"
    return text or NONE


def _startup(found: Mapping, picture: Callable) -> str:
    def seconds(of: Mapping) -> str:
        return f"{of['median']:.2f} s ({of['min']:.2f}–{of['max']:.2f})"

    rows = [
        [
            key.removesuffix("_seconds").replace("_", " "),
            *(seconds(of[key]) for of in found["starts"].values()),
            spread(by),
        ]
        for key, by in found["second_over_first"].items()
    ]
    return markdown([f"`{found['config']}`", "first start", "second start", "second / first"], rows)


def _overhead(found: Mapping, picture: Callable) -> str:
    rounds = found["rounds"]

    def seconds(stage: str, key: str) -> str:
        of = record.summary([one["stages"][stage][key] for one in rounds])
        return f"{of['median']:.2f} ({of['min']:.2f}–{of['max']:.2f})"

    rows = [[stage, seconds(stage, "wall"), seconds(stage, "outside")] for stage in rounds[0]["stages"]]
    table = markdown(["seconds", "wall, less compiling", "outside the compiled program"], rows)
    by_bare = spread(found["outside_training_by_bare"], "%")
    return f"{table}\nOf training alone, against bare epochs: {by_bare}.\n"


def _ideas(found: Mapping, picture: Callable) -> str:
    rows = [
        [one["idea"], one["what"], spread(one["ratio"]) if one["ratio"] else "failed", one["note"]]
        for one in found["ideas"]
    ]
    return markdown(["idea", "what", "times as fast as without", "note"], rows)


def _crossover(found: Mapping, picture: Callable) -> str:
    rows = [
        [
            *(f"{one[key]:,.0f}" for key in ("forward_flops", "map", "vmap")),
            record.ranged(one["vmap_over_map"]),
            one["rule"],
        ]
        for one in found["crossover"]
    ]
    return markdown(
        ["forward FLOPs", "mapped, steps/s", "vmapped, steps/s", "vmapped / mapped", "the rule takes"], rows
    )


def _scale(found: Mapping, picture: Callable) -> str:
    seconds = [f"{found[key]:g} s" for key in ("read_seconds", "statistics_seconds", "everything_seconds")]
    row = [f"{found['runs']:,}", *seconds, f"{found['peak_gb']:g} GB", f"{found['page_mb']:g} MB"]
    return markdown(["runs", "reading", "statistics", "to the page", "peak", "page"], [row])


def _gpu(found: Mapping, picture: Callable) -> str:
    text = f"{found['device']}, products as {found['precision']}; measured table: `{found['line']}`\n\n"
    for case in found["forms"]:
        rows = [
            [f"{r['mode']}, {r['conv']}", speed(r["images_per_second"]), record.ranged(r["of_best"])]
            for r in case["forms"]
        ]
        rows += [[name, "failed", why] for name, why in case["failed"].items()]
        text += f"**{case['workload']}, {case['runs']} runs: forms**\n\n"
        text += markdown(["", "images/s", "of the best"], rows) + "\n"
    for case in found["rivals"]:
        rows = [[n, speed(r["images_per_second"]), record.ranged(r["ours_is"])] for n, r in case["contenders"].items()]
        rows += [[name, "failed", why] for name, why in case["failed"].items()]
        text += f"**{case['workload']}, {case['runs']} runs: rivals**\n\n"
        text += markdown(["", "images/s", "ours is"], rows) + "\n"
    return text


# Heading, which is also that of its prose -> (results file, what makes its figures).
SECTIONS = {
    "against rivals": ("throughput", _throughput),
    "the machine's limit": ("throughput", _roofline),
    "scaling": ("scaling", _scaling),
    "memory": ("scaling", _memory),
    "second start": ("startup", _startup),
    "time outside the compiled program": ("overhead", _overhead),
    "ideas": ("ideas", _ideas),
    "mapped or vmapped": ("crossover", _crossover),
    "tens of thousands of runs": ("scale", _scale),
    "on a GPU": ("gpu", _gpu),
}
