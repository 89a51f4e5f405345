"""From one core to all, and from one run to many: `python -m benchmarks.scaling`, about 10 minutes on two cores.

cores    8 runs of the CNN in processes that may use 1, 2, ... cores, one XLA device a core; and beside them one device
         whose process may use all cores, so that XLA's thread pool can spread the work of that one device
runs     N = 1, 2, ... 64 runs in one group against N times one run alone, which has all devices that it can use

Times are taken in alternating turns and compared within a turn.
"""

import contextlib
import os

from rich.console import Console

from benchmarks import chapters, engine, goals, record, sampling, scaling_plot, workloads

RUNS = (1, 2, 4, 8, 16, 32, 64)
PARTS = ("cores", "runs")


def by_cores(workload: str, runs: int, turns: int, seconds: float) -> dict:
    """Images/s of `runs` runs on 1, 2, ... cores, and how many times as fast as on one."""
    cores = _cores()
    counts = _powers(len(cores))
    ways = [(f"{n} core{'s' if n > 1 else ''}", n, 0) for n in counts]  # name, cores, XLA devices; 0: one a core
    ways.append(("one device, all cores", len(cores), 1))
    with contextlib.ExitStack() as stack:
        workers = {n: stack.enter_context(engine.worker(cores[:n])) for n in counts}
        steps, timed = {}, {}
        for name, n, devices in ways:
            checked, submit = workloads.checked(workload, runs, population__devices=devices), workers[n].submit
            steps[name], batch = submit(engine.build, name, checked, seconds).result()
            timed[name] = lambda name=name, submit=submit: submit(engine.seconds_of, name, steps[name]).result()
        samples = sampling.in_turns(timed, turns)
    speeds = {name: [batch * runs * steps[name] / took for took in values] for name, values in samples.items()}
    rows = [
        {
            "name": name,
            "cores": n,
            "images_per_second": record.summary(speeds[name]),
            "times_one_core": record.ratios(speeds[name], speeds["1 core"]),
        }
        for name, n, _ in ways
    ]
    return {"workload": workload, "runs": runs, "rows": rows}


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), most})


def by_runs(workload: str, counts, turns: int, seconds: float) -> dict:
    """The time of N runs in one group over N times that of one run alone, for every N."""
    with engine.worker(_cores()) as worker:
        steps, ways = {}, {}
        for runs in counts:
            steps[runs], batch = worker.submit(engine.build, runs, workloads.checked(workload, runs), seconds).result()
            ways[runs] = lambda runs=runs: worker.submit(engine.seconds_of, runs, steps[runs]).result()
        samples = sampling.in_turns(ways, turns)
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
    counts, names = RUNS, goals.NETS
    if args.smoke:
        counts, names = (1, 2), ("cnn_tiny",)
        args.turns, args.seconds, args.runs = 1, 0.05, 2
    record.need_data(args.smoke)
    found = record.opening("scaling")
    if "cores" in parts:
        found["cores"] = by_cores(names[0], args.runs, args.turns, args.seconds)
    if "runs" in parts:
        found["runs"] = [by_runs(name, counts, args.turns, args.seconds) for name in names]
    found["goals"] = goals.scaling(found)
    chapters.show("scaling", found, console)
    path = record.place("scaling", args)
    record.write(found, path, console)
    scaling_plot.plot(found, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
