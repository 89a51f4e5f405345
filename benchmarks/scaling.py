"""From one core to all, from one run to many, and is memory what --plan said? `python -m benchmarks.scaling`.

cores    8 runs of the CNN in processes that may use 1, 2, ... cores, one XLA device a core; and beside them one device
         whose process may use all cores, so that XLA's thread pool can spread the work of that one device
runs     N = 1, 2, ... 64 runs in one group against N times one run alone, which has all devices that it can use
memory   the peak of the process of a short study of N runs against what --plan says of it, each in a process of its own

Times are taken in alternating turns and compared within a turn. About 35 minutes on two cores, most of it memory.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import children, record, workloads
from benchmarks.engine import Worker

RUNS = (1, 2, 4, 8, 16, 32, 64)
PARTS = ("cores", "runs", "memory")
OURS, GREY, DASHED = "#0b6e99", "#9aa0a8", (0, (4, 3))
# The estimate of `plan`, to the byte, from the function that --plan prints; the third argument is a duration.
PLAN = """
import sys
from pathlib import Path
from rich.console import Console
from benchmarks import workloads
from fmnist_jax import plan, sharding
sharding.keep_programs()
sharding.configure("cpu")
checked = workloads.checked(sys.argv[1], int(sys.argv[2]), train__duration=sys.argv[3])
print(max(one.bytes for one in plan.show(checked, Path(sys.argv[4]), Console(quiet=True))))
"""


def by_cores(workload: str, runs: int, turns: int, seconds: float) -> dict:
    """Images/s of `runs` runs on 1, 2, ... cores, and how many times as fast as on one."""
    cores = _cores()
    checked = {devices: workloads.checked(workload, runs, population__devices=devices) for devices in (0, 1)}
    workers = {n: Worker(cores[:n]) for n in _powers(len(cores))}
    everywhere = workers[max(workers)]
    named = {f"{n} core{'s' if n > 1 else ''}": (worker, "all devices") for n, worker in workers.items()}
    named["one device, all cores"] = everywhere, "one device"
    steps, ways = {}, {}
    for name, (worker, engine) in named.items():
        steps[name], batch = worker.call("build", engine, checked[engine == "one device"], seconds)
        ways[name] = lambda worker=worker, engine=engine, n=steps[name]: worker.call("seconds", engine, n)
    samples = record.in_turns(ways, turns)
    for worker in workers.values():
        worker.__exit__()
    speeds = {name: [batch * runs * steps[name] / took for took in values] for name, values in samples.items()}
    return {
        "workload": workload,
        "runs": runs,
        "rows": [
            {
                "name": name,
                "cores": n,
                "images_per_second": record.summary(values),
                "times_one_core": record.ratios(values, speeds["1 core"]),
            }
            for (name, values), n in zip(speeds.items(), [*workers, len(cores)], strict=True)
        ],
    }


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), most})


def by_runs(workload: str, counts, turns: int, seconds: float) -> dict:
    """The time of N runs in one group over N times that of one run alone, for every N."""
    with Worker(_cores()) as worker:
        steps, ways = {}, {}
        for runs in counts:
            steps[runs], batch = worker.call("build", runs, workloads.checked(workload, runs), seconds)
            ways[runs] = lambda runs=runs: worker.call("seconds", runs, steps[runs])
        samples = record.in_turns(ways, turns)
    of_run = {runs: [took / steps[runs] / runs for took in values] for runs, values in samples.items()}
    return {
        "workload": workload,
        "rows": [
            {
                "runs": runs,
                "steps": steps[runs],
                "images_per_second": record.summary([batch / each for each in values]),
                "cost": record.ratios(values, of_run[counts[0]]),
            }
            for runs, values in of_run.items()
        ],
    }


def by_memory(workload: str, counts, duration: str) -> dict:
    """Peak bytes of the process of a study of N runs, and what `plan` says of it, for every N."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        environment = children.own_cache(Path(scratch) / "cache")
        for runs in counts:
            workdir = Path(scratch) / str(runs)
            asked = ["-c", PLAN, workload, str(runs), duration, str(workdir)]
            estimated = int(children.python(asked, environment).output.split()[-1])
            done = children.study(workload, workdir, environment, seeds=runs, train__duration=duration)
            rows.append({"runs": runs, "estimated": estimated, "measured": done.peak, "off": estimated / done.peak - 1})
    return {"workload": workload, "duration": duration, "rows": rows}


def goals(found: dict) -> list[dict]:
    """Rows of the table of goals."""
    rows = []
    if "cores" in found:
        last = found["cores"]["rows"][-2]
        name = f"1 -> {last['cores']} cores, {found['cores']['runs']} runs"
        rows.append(record.goal(name, "one core", 0.95 * last["cores"], last["times_one_core"]))
    for of in found.get("runs", ()):
        worst = max(of["rows"][1:], key=lambda row: row["cost"]["median"])
        name, at = f"cost of N runs in one group, {of['workload']}", f"worst at N = {worst['runs']}"
        rows.append(record.goal(name, "N times one run", 1.0, worst["cost"], at_most=True, note=at))
    for of in found.get("memory", ()):
        off = record.summary([abs(row["off"]) for row in of["rows"]])
        worst = max(of["rows"], key=lambda row: abs(row["off"]))
        name, at = f"memory of N runs, {of['workload']}", f"worst at N = {worst['runs']}"
        reached = {**off, "median": off["max"]}  # every N must keep to it
        rows.append(record.goal(name, "what --plan says", 0.10, reached, at_most=True, unit="%", note=at))
    return rows


def show(found: dict, console: Console) -> None:
    """Tables of all that was measured."""
    if of := found.get("cores"):
        table = record.table_of(f"{of['workload']}, {of['runs']} runs, by cores", "", "images/s", "n", "times one core")
        for row in of["rows"]:
            speed = row["images_per_second"]
            table.add_row(row["name"], f"{speed['median']:,.0f}", str(speed["n"]), record.ranged(row["times_one_core"]))
        console.print(table)
    for of in found.get("runs", ()):
        table = record.table_of(f"{of['workload']}, N runs in a group", "N", "images/s", "n", "time over N times one's")
        for row in of["rows"]:
            speed = row["images_per_second"]
            table.add_row(str(row["runs"]), f"{speed['median']:,.0f}", str(speed["n"]), record.ranged(row["cost"]))
        console.print(table)
    for of in found.get("memory", ()):
        table = record.table_of(f"{of['workload']}, memory of N runs", "N", "--plan says", "measured", "off by")
        for row in of["rows"]:
            sizes = [f"{row[key] / 1e9:.2f} GB" for key in ("estimated", "measured")]
            table.add_row(str(row["runs"]), *sizes, f"{row['off']:+.1%}")
        console.print(table)
    console.print(record.goals_table(found["goals"]))


def main(argv=None) -> None:
    """Measures, prints, writes; draws scaling.png beside the JSON."""
    flags = record.flags("scaling", __doc__)
    flags.add_argument("--only", default=",".join(PARTS), help="parts to measure")
    flags.add_argument("--turns", type=int, default=5)
    flags.add_argument("--seconds", type=float, default=4.0, help="of one sample, about")
    flags.add_argument("--runs", type=int, default=8, help="of the part about cores")
    args, console = flags.parse_args(argv), Console()
    parts = args.only.split(",")
    if unknown := set(parts) - set(PARTS):
        flags.error(f"--only={','.join(unknown)}: take some of {', '.join(PARTS)}")
    counts, names, duration = RUNS, ("cnn", "mlp"), "20 steps"
    if args.smoke:
        counts, names, duration = (1, 2), ("cnn_tiny",), "2 steps"
        args.turns, args.seconds, args.runs = 1, 0.05, 2
    record.need_data(args.smoke)
    found = record.opening("scaling")
    if "cores" in parts:
        found["cores"] = by_cores(names[0], args.runs, args.turns, args.seconds)
    if "runs" in parts:
        found["runs"] = [by_runs(name, counts, args.turns, args.seconds) for name in names]
    if "memory" in parts:
        found["memory"] = [by_memory(name, counts[:1] if args.smoke else counts, duration) for name in names]
    found["goals"] = goals(found)
    show(found, console)
    path = record.place("scaling", args)
    record.write(found, path, console)
    plot(found, path.with_suffix(".png"))


def plot(found: dict, path: Path) -> None:
    """Throughput against N, a panel a workload, beside that of one run alone; and against cores, beside the ideal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(_draw_runs, of) for of in found.get("runs", [])]
    panels += [(_draw_cores, found["cores"])] if "cores" in found else []
    if not panels:
        return
    size = (4.2 * len(panels), 3.9)
    figure, grid = pyplot.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axes, (draw, of) in zip(grid[0], panels, strict=True):
        draw(axes, of)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False, labelleft=False)
    figure.suptitle("Training speed, images a second over all runs", x=0.01, ha="left", fontsize=13)
    where = found["hardware"]
    note = f"{where['cpu']}, {where['cores']} cores; {found['date'][:10]}. Medians and ranges of alternating samples."
    figure.supxlabel(note, x=0.01, ha="left", fontsize=7.5, color="#555555")
    figure.savefig(path, dpi=160)
    pyplot.close(figure)


def _say(axes, text: str, at: tuple[float, float], offset: tuple[float, float], ha: str, **how) -> None:
    how = {"fontsize": 9, "color": OURS, **how}
    axes.annotate(text, at, offset, textcoords="offset points", ha=ha, **how)


def _draw_runs(axes, of: dict) -> None:
    counts = [row["runs"] for row in of["rows"]]
    low, middle, high = ([row["images_per_second"][key] for row in of["rows"]] for key in ("min", "median", "max"))
    axes.fill_between(counts, low, high, color=OURS, alpha=0.15, lw=0)
    axes.plot(counts, middle, color=OURS, marker="o", ms=4, lw=2)
    axes.axhline(middle[0], color=GREY, lw=1, ls=DASHED)
    _say(axes, "one run alone", (counts[-1], middle[0]), (0, 4), "right", color=GREY)
    fastest = int(np.argmax(middle))
    for i in {0, fastest, len(counts) - 1}:
        _say(axes, _short(middle[i]), (counts[i], middle[i]), (0, 8 if i else -16), "center", weight="bold")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.set_xlabel("runs in one group")
    axes.margins(x=0.09)
    axes.set_ylim(0, 1.18 * max(high))
    axes.set_title(_title(of["workload"]), loc="left", fontsize=10.5, weight="bold")


def _draw_cores(axes, of: dict) -> None:
    *rows, as_one = of["rows"]  # pinned to 1, 2, ... cores; one device on all of them
    counts = [row["cores"] for row in rows]
    low, middle, high = ([row["images_per_second"][key] for row in rows] for key in ("min", "median", "max"))
    ideal, last = [middle[0] * n for n in counts], counts[-1]
    axes.plot(counts, ideal, color=GREY, lw=1, ls=DASHED)
    _say(axes, "ideal", (last, ideal[-1]), (8, 2), "left", color=GREY)
    spread = [np.subtract(middle, low), np.subtract(high, middle)]
    axes.errorbar(counts, middle, yerr=spread, color=OURS, marker="o", ms=5, lw=2, capsize=2)
    _say(axes, _short(middle[0]), (counts[0], middle[0]), (0, -16), "center", weight="bold")
    times = rows[-1]["times_one_core"]["median"]
    _say(axes, f"{_short(middle[-1])}, {times:.2f}×", (last, middle[-1]), (8, -8), "left", weight="bold")
    at = last, as_one["images_per_second"]["median"]
    axes.plot(*at, marker="o", ms=5, mfc="white", color=OURS, ls="")
    _say(axes, f"as one device,\n{as_one['times_one_core']['median']:.2f}×", at, (8, -8), "left")
    axes.set_xticks(counts)
    axes.set_xlim(1 - 0.15 * last, 1.45 * last)
    axes.set_xlabel("cores")
    axes.set_ylim(0, 1.15 * max(*ideal, *high))
    axes.set_title(f"{_title(of['workload'])}, {of['runs']} runs", loc="left", fontsize=10.5, weight="bold")


def _title(workload: str) -> str:
    return {"cnn": "alexander CNN, batch 32", "mlp": "784-10-10 MLP, batch 32"}.get(workload, workload)


def _short(speed: float) -> str:
    return f"{speed / 1e6:.2f} M" if speed >= 1e6 else f"{speed / 1e3:.1f} k" if speed >= 1e3 else f"{speed:.0f}"


if __name__ == "__main__":
    main()
