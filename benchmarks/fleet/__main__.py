"""A million runs on 10 to 4,096 devices, simulated: `python -m benchmarks.fleet`, some minutes on two cores.

Hosts share a study by --claim (benchmarks/fleet/model.py), at the costs that benchmarks/results/costs.json has of here,
while they are preempted at some rate: how long it takes, where the device-hours go, which cost bounds it (each is
halved in turn), and which groups and checkpoints would be best. Nothing is trained. It draws docs/scaling.png.
"""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks import record, tables
from benchmarks.fleet import chapters as fleet_chapters
from benchmarks.fleet import costs as fleet_costs
from benchmarks.fleet import plot as fleet_plot
from benchmarks.fleet.costs import ACCELERATORS, BACK, CORES, DISK, Study
from benchmarks.fleet.events import simulate
from benchmarks.fleet.model import Costs, Fleet

DEVICES = (10, 32, 100, 256, 1024, 4096)
RATES = (0.0, 1 / 24, 1.0, 6.0)  # preemptions an hour and host
BASE_RATE, BASE_DEVICES = 1 / 24, (256, 4096)  # of what is looked at closely
DRAWS = 5  # of preemptions, where a cost is halved: each against the same one as it is
HARSH_RATE = 1.0
RUNS, OF_AN_ARM, PROGRAMS = 1_000_000, 10, 16
CHECKPOINTS_AS = {"cnn": 3, "mlp": 10}  # workload -> of a run, as configs/ has them
GROUPS_OF = {  # (workload, kind) -> runs of a group: some minutes of a host
    **{("cnn", CORES.name): 64, ("cnn", ACCELERATORS.name): 1024},
    **{("mlp", CORES.name): 1024, ("mlp", ACCELERATORS.name): 2048},
}
GROUPS = {"cnn": (8, 16, 32, 64, 128, 256), "mlp": (64, 256, 1024, 4096)}
CHECKPOINTS = {"cnn": (1, 3, 6, 12), "mlp": (1, 5, 10, 30)}
# Then a simulation is given up: after so many times the work alone, and as many days; or so many preemptions.
PATIENCE, MOST_PREEMPTIONS = 20, 300_000
FIGURE = Path(__file__).parents[2] / "docs" / "scaling.png"
# What is simulated: the product, and what it would be without one of its costs.
WAYS = AS_IT_IS, FREE_BOOKS = "as it is", "looks and turns that take nothing"
HALVED = {  # name -> the fields of Costs that are halved
    "training": ("segment",),
    "start of a process": ("start", "start_operations"),
    "turn to begin": ("begin", "make"),
    "looks, on the host": ("look", "look_trained", "look_new"),
    "looks, on the disk": tuple(
        f"look_{name}"
        for name in ("new_bytes", "operations", "operations_trained", "operations_held", "operations_new")
    ),
    "compiling": ("compile", "test_compile"),
    "opening groups": ("group",),
    "checkpoints, on the host": ("checkpoint",),
    "checkpoints, on the disk": ("checkpoint_bytes",),
    "testing": ("test", "test_operations", "test_operations_each"),
    "tables": ("tables",),
}
KINDS = {kind.name: kind for kind in (CORES, ACCELERATORS)}
OTHERWISE = {  # name -> fields of Fleet, and what becomes of them
    "lease": {"lease": lambda fleet: fleet.lease / 2},
    "preemptions": {"preemptions": lambda fleet: fleet.preemptions / 2},
    "time to come back": {"back": lambda fleet: fleet.back / 2},
    "(preempted with notice)": {"notice": lambda fleet: True},
    "(one cache of programs for all)": {"shared_cache": lambda fleet: True},
}
KEEP_EVERY = 20  # simulations
SIMULATION = ("__main__", "costs", "events", "model", "pool", "process")
CODE = (  # that a result depends on
    *(f"benchmarks/fleet/{name}.py" for name in SIMULATION),
    *("benchmarks/server.py", "benchmarks/costs/model.py"),
)


class Case(NamedTuple):
    """One simulation; `part` of the results, and `changed`, if something is, of HALVED or OTHERWISE.

    `draw` numbers its preemptions: of one number they come to a host after the same seconds, whatever else is changed.
    """

    part: str
    workload: str
    kind: str
    way: str
    devices: int
    preemptions_an_hour: float
    of_group: int
    checkpoints: int
    runs: int
    changed: str = ""
    draw: int = 0


def cases(smoke: bool) -> list[Case]:
    """All of them."""
    devices, rates, base, runs = DEVICES, RATES, BASE_DEVICES, RUNS
    if smoke:
        devices, rates, base, runs = (10, 32), (0.0, BASE_RATE), (32,), 3000
    found = []
    for name, checkpoints in CHECKPOINTS_AS.items():
        for kind, way, rate, count in itertools.product(KINDS, WAYS, rates, devices):
            found.append(Case("fleets", name, kind, way, count, rate, GROUPS_OF[name, kind], checkpoints, runs))
        for way, count, changed in itertools.product(WAYS, base, ("", *HALVED, *OTHERWISE)):
            of = name, CORES.name, way, count, BASE_RATE, GROUPS_OF[name, CORES.name], checkpoints, runs, changed
            found += [Case("halved", *of, draw) for draw in range(2 if smoke else DRAWS)]
        ways = ((AS_IT_IS, BASE_RATE), (AS_IT_IS, HARSH_RATE), (FREE_BOOKS, BASE_RATE))
        for (way, rate), of_group, checkpoints in itertools.product(ways, GROUPS[name], CHECKPOINTS[name]):
            found.append(Case("cuts", name, CORES.name, way, base[-1], rate, of_group, checkpoints, runs))
    return found


def row(case: Case, found: Mapping) -> dict:
    """What came of it: seconds, device-seconds by cause, and what the training alone would take."""
    hosts = math.ceil(case.devices / KINDS[case.kind].devices)
    kind = dataclasses.replace(KINDS[case.kind], devices=case.devices / hosts)
    study = Study(case.workload, case.runs, case.runs // OF_AN_ARM, PROGRAMS, case.of_group, case.checkpoints)
    costs = ways(fleet_costs.costs(study, kind, found), found)[case.way]
    fleet = Fleet(hosts, kind.devices, preemptions=case.preemptions_an_hour, back=BACK)
    costs, fleet = changed(costs, fleet, case.changed)
    work = fleet_costs.work(study)
    alone = work.groups * work.segments * costs.segment / fleet.hosts
    out = simulate(work, costs, fleet, DISK, case.draw, until=PATIENCE * (alone + 86_400), most=MOST_PREEMPTIONS)
    return {
        **case._asdict(),
        "alone_seconds": alone,
        "seconds": out.seconds if math.isfinite(out.seconds) else None,
        "trained_seconds": out.trained_seconds if math.isfinite(out.trained_seconds) else None,
        "device_seconds": out.device_seconds,
        "spent": out.spent,
        "waste": out.waste,
        "given_up": out.given_up,
        "preemptions": out.preemptions,
        "takeovers": out.takeovers,
    }


def ways(costs: Costs, found: Mapping) -> dict[str, Costs]:
    """What could be done -> the costs that are left."""
    return {AS_IT_IS: costs, FREE_BOOKS: fleet_costs.without_books(costs, found)}


def changed(costs: Costs, fleet: Fleet, what: str) -> tuple[Costs, Fleet]:
    """With a cost halved, or something else changed."""
    if what in HALVED:
        return dataclasses.replace(costs, **{key: getattr(costs, key) / 2 for key in HALVED[what]}), fleet
    return costs, dataclasses.replace(fleet, **{key: of(fleet) for key, of in OTHERWISE.get(what, {}).items()})


def measure(found: Mapping, smoke: bool, rows: list[dict], keep: Callable[[], None]) -> None:
    """Adds to `rows` what is missing of them, on all cores; calls `keep` now and then. `found`: costs.json."""
    wanted = cases(smoke)
    there = {Case(*(one[key] for key in Case._fields)): one for one in rows}
    rows[:] = [one for case, one in there.items() if case in wanted]
    missing = [case for case in wanted if case not in there]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
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
