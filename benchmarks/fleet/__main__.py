"""A million runs on 10 to 4,096 devices, simulated: `python -m benchmarks.fleet`, some minutes on two cores.

Hosts share a study by --claim (benchmarks/fleet/model.py), at the costs that benchmarks/results/costs.json has of here,
while they are preempted at some rate: how long it takes, where the device-hours go, which cost bounds it (each is
halved in turn), and which groups and checkpoints would be best. Nothing is trained. It draws docs/scaling.png.
"""

import dataclasses
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console

from benchmarks import record, tables
from benchmarks.fleet import chapters as fleet_chapters
from benchmarks.fleet import costs as fleet_costs
from benchmarks.fleet import plot as fleet_plot
from benchmarks.fleet.cases import CHECKPOINTS_AS, GROUPS_OF, KINDS, OF_AN_ARM, PROGRAMS, Case, cases, row
from benchmarks.fleet.costs import BACK, DISK, Study

FIGURE = Path(__file__).parents[2] / "docs" / "scaling.png"
KEEP_EVERY = 20  # simulations
SIMULATION = ("cases", "costs", "events", "model", "pool", "process")
CODE = (  # that a result depends on
    *(f"benchmarks/fleet/{name}.py" for name in SIMULATION),
    *("benchmarks/server.py", "benchmarks/costs/model.py"),
)


def measure(found: Mapping, smoke: bool, rows: list[dict], keep: Callable[[], None]) -> None:
    """Adds to `rows` what is missing of them, on all cores; calls `keep` now and then. `found`: costs.json."""
    wanted = cases(smoke)
    there = {Case(*(one[key] for key in Case._fields)): one for one in rows}
    rows[:] = [one for case, one in there.items() if case in wanted]
    missing = [case for case in wanted if case not in there]
    start = multiprocessing.get_context("spawn")  # JAX has threads, which no fork survives
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=start) as pool:
        for i, one in enumerate(pool.map(row, missing, itertools.repeat(found))):
            rows.append(one)
            if i % KEEP_EVERY == 0:
                keep()
    order = {case: i for i, case in enumerate(wanted)}
    rows.sort(key=lambda one: order[Case(*(one[key] for key in Case._fields))])


def assumed(found: Mapping, smoke: bool) -> dict:
    """What is simulated: the study, what is assumed, and the costs of its hosts."""
    runs = max(case.runs for case in cases(smoke))
    studies = {
        of: Study(of[0], runs, runs // OF_AN_ARM, PROGRAMS, of_group, CHECKPOINTS_AS[of[0]])
        for of, of_group in GROUPS_OF.items()
    }
    of_hosts = [
        {
            **{"workload": name, "kind": kind, "of_group": study.of_group, "groups": study.groups},
            **dataclasses.asdict(fleet_costs.costs(study, KINDS[kind], found)),
        }
        for (name, kind), study in studies.items()
    ]
    kinds = [dataclasses.asdict(kind) for kind in KINDS.values()]
    return {
        "study": {"runs": runs, "arms": runs // OF_AN_ARM, "programs": PROGRAMS},
        "measured_at_most": {name: fleet_costs.largest(found, name) for name in ("arms", "runs", "groups")},
        "assumed": {"disk": dataclasses.asdict(DISK), "back": BACK, "kinds": kinds},
        "costs": of_hosts,
        "bytes_left": {name: fleet_costs.bytes_left(study, found) for (name, _), study in studies.items()},
    }


def main(argv=None) -> None:
    """Simulates, prints, writes."""
    flags = record.flags("fleet", __doc__)
    flags.add_argument("--costs", type=Path, default=record.RESULTS / "costs.json", help="what benchmarks.costs wrote")
    flags.add_argument("--figure", type=Path, help="PNG; default: docs/scaling.png, of a smoke run beside the JSON")
    flags.add_argument("--resume", action="store_true", help="keep what --out has, if it is of the same costs and code")
    args, console = flags.parse_args(argv), Console()
    if not args.costs.exists():
        flags.error(f"--costs={args.costs}: not there; python -m benchmarks.costs writes it")
    costs, path = json.loads(args.costs.read_text()), record.place("fleet", args)
    of = {key: costs[key] for key in ("command", "date", "hardware")}
    found = {**record.opening("fleet"), "code": record.code(*CODE), "measured": of, **assumed(costs, args.smoke)}
    rows = record.kept(path, found, ("code", "measured"), flags).get("rows", []) if args.resume else []
    found["rows"] = rows

    def keep() -> None:
        record.write(found, path, Console(quiet=True))

    measure(costs, args.smoke, rows, keep)
    record.write(found, path, console)
    tables.show(fleet_chapters.fleet(found), console)
    fleet_plot.plot(found, args.figure or (path.with_suffix(".png") if args.smoke else FIGURE))


if __name__ == "__main__":
    main()
