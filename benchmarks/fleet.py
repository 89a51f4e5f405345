"""A million runs on 10 to 4,096 devices, simulated: `python -m benchmarks.fleet`, some minutes on one core.

Hosts share a study by --claim (benchmarks/fleet_model.py), at the costs that benchmarks/results/costs.json has of here,
while they are preempted at some rate: how long it takes, where the device-hours go, which cost bounds it (each is
halved in turn), and which groups and checkpoints would be best. Nothing is trained. It draws docs/scaling.png.
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from benchmarks import fleet_costs, fleet_plot, record, scaling_chapters, tables
from benchmarks.fleet_costs import ACCELERATORS, BACK, CORES, DISK, Kind, Study
from benchmarks.fleet_events import simulate
from benchmarks.fleet_model import Costs, Disk, Fleet, Outcome

DEVICES = (10, 32, 100, 256, 1024, 4096)
RATES = (0.0, 1 / 24, 1.0, 6.0)  # preemptions an hour and host
BASE_RATE, BASE_DEVICES = 1.0, (256, 4096)  # of what is looked at closely
RUNS, SEEDS, PROGRAMS = 1_000_000, 10, 16
STUDIES = {"cnn": (64, 3), "mlp": (1024, 10)}  # workload -> runs of a group, checkpoints of a run as configs/ has them
GROUPS = {"cnn": (8, 16, 32, 64, 128, 256), "mlp": (64, 256, 1024, 4096)}
CHECKPOINTS = {"cnn": (1, 3, 6, 12), "mlp": (1, 5, 10, 30)}
# Then a simulation is given up: so many times the work alone, and as many days; so many preemptions while it trains.
PATIENCE, MOST_PREEMPTIONS = 20, 500_000
FIGURE = Path(__file__).parent.parent / "docs" / "scaling.png"
# What could be done, one after the other: each with those before it.
AS_IT_IS, FREE_BOOKS, SHARED_TESTS = "as it is", "looks and turns that take nothing", "and each host tests its groups"
KEYS = ("seconds", "trained_seconds", "device_seconds")
HALVED = {  # name -> the fields of Costs that are halved
    "training": ("segment",),
    "start of a process": ("start", "start_operations"),
    "turn to begin": ("begin", "make"),
    "looks, on the host": ("look", "look_trained", "look_new"),
    "looks, on the disk": tuple(
        f"look_{name}"
        for name in ("new_bytes", "operations", "operations_trained", "operations_held", "operations_new")
    ),
    "compiling": ("compile",),
    "opening groups": ("group",),
    "checkpoints, on the host": ("checkpoint",),
    "checkpoints, on the disk": ("checkpoint_bytes",),
    "testing": ("test",),
    "tables": ("tables",),
}


def study_of(workload: str, of_group: int | None = None, checkpoints: int | None = None, runs: int = RUNS) -> Study:
    """The study of a million runs, or so many, of a workload."""
    usual = STUDIES[workload]
    return Study(workload, runs, runs // SEEDS, PROGRAMS, of_group or usual[0], checkpoints or usual[1])


def fleet_of(kind: Kind, devices: int, rate: float, **changes) -> Fleet:
    """As many hosts as have about so many devices."""
    each = min(kind.devices, devices)
    return Fleet(hosts=round(devices / each), devices=each, preemptions=rate, back=BACK, **changes)


def row(study: Study, costs: Costs, fleet: Fleet, disk: Disk = DISK) -> dict:
    """One simulation: seconds, device-seconds by cause, and what the training alone would take."""
    work = fleet_costs.work(study)
    alone = work.groups * work.segments * costs.segment / fleet.hosts
    began = time.perf_counter()
    out = simulate(work, costs, fleet, disk, until=PATIENCE * (alone + 86_400), most=MOST_PREEMPTIONS)
    found = {"workload": study.workload, "hosts": fleet.hosts, "devices": fleet.hosts * fleet.devices}
    found |= {"preemptions_an_hour": fleet.preemptions, "of_group": study.of_group, "checkpoints": study.checkpoints}
    return found | _of_outcome(out) | {"alone_seconds": alone, "took": time.perf_counter() - began}


def _of_outcome(out: Outcome) -> dict:
    return {
        "seconds": out.seconds if math.isfinite(out.seconds) else None,
        "trained_seconds": out.trained_seconds if math.isfinite(out.trained_seconds) else None,
        "device_seconds": out.device_seconds,
        "spent": out.spent,
        "waste": out.waste,
        "preemptions": out.preemptions,
        "takeovers": out.takeovers,
    }


def ways(costs: Costs, found: Mapping) -> dict[str, Costs]:
    """What could be done -> the costs that are left."""
    free = fleet_costs.without_books(costs, found)
    return {AS_IT_IS: costs, FREE_BOOKS: free, SHARED_TESTS: fleet_costs.with_shared_tests(free)}


def by_size(found: Mapping, workload: str, kind: Kind, devices, rates, runs: int) -> list[dict]:
    """Every way, rate and number of devices."""
    study = study_of(workload, runs=runs)
    rows = []
    for way, costs in ways(fleet_costs.costs(study, kind, found), found).items():
        for rate in rates:
            for count in devices:
                of = {"kind": kind.name, "way": way}
                rows.append(of | row(study, costs, fleet_of(kind, count, rate)))
    return rows


def halved(found: Mapping, workload: str, kind: Kind, way: str, devices: int, runs: int) -> list[dict]:
    """The time with each cost halved in turn, or something (in brackets) changed, over the time as it is."""
    study = study_of(workload, runs=runs)
    costs, fleet = ways(fleet_costs.costs(study, kind, found), found)[way], fleet_of(kind, devices, BASE_RATE)
    changed = {
        name: (dataclasses.replace(costs, **{key: getattr(costs, key) / 2 for key in keys}), fleet)
        for name, keys in HALVED.items()
    }
    for name, field in (("lease", "lease"), ("preemptions", "preemptions"), ("time to come back", "back")):
        changed[name] = costs, dataclasses.replace(fleet, **{field: getattr(fleet, field) / 2})
    changed["(preempted with notice)"] = costs, dataclasses.replace(fleet, notice=True)
    changed["(one cache of programs for all)"] = costs, dataclasses.replace(fleet, shared_cache=True)
    usual, rows = row(study, costs, fleet), []
    for name, (own, of_fleet) in changed.items():
        one = row(study, own, of_fleet)
        ratios = {key: one[key] / usual[key] if one[key] and usual[key] else None for key in KEYS}
        rows.append({"workload": workload, "way": way, "devices": devices, "cost": name, **ratios})
    return rows


def cut(found: Mapping, workload: str, kind: Kind, way: str, devices: int, rate: float, sizes, cadences, runs: int):
    """Every size of groups and number of checkpoints: rows as `by_size` has them."""
    rows = []
    for of_group in sizes:
        for checkpoints in cadences:
            study = study_of(workload, of_group, checkpoints, runs)
            costs = ways(fleet_costs.costs(study, kind, found), found)[way]
            rows.append({"kind": kind.name, "way": way, **row(study, costs, fleet_of(kind, devices, rate))})
    return rows


def measure(found: Mapping, smoke: bool) -> dict:
    """All of it; `found`: costs.json."""
    devices, rates, base, runs = (
        (DEVICES, RATES, BASE_DEVICES, RUNS) if not smoke else ((10, 32), (0.0, 6.0), (32,), 3000)
    )
    kinds = [(name, kind) for name in STUDIES for kind in (CORES, ACCELERATORS)]
    fleets = [one for name, kind in kinds for one in by_size(found, name, kind, devices, rates, runs)]
    bounds = [
        one
        for name in STUDIES
        for way in (AS_IT_IS, SHARED_TESTS)
        for count in base
        for one in halved(found, name, CORES, way, count, runs)
    ]
    cuts = [
        one
        for name in STUDIES
        for way, rate in ((AS_IT_IS, rates[0]), (SHARED_TESTS, rates[0]), (SHARED_TESTS, BASE_RATE))
        for one in cut(found, name, CORES, way, base[-1], rate, GROUPS[name], CHECKPOINTS[name], runs)
    ]
    studies = {name: study_of(name, runs=runs) for name in STUDIES}
    return {
        "study": {"runs": runs, "arms": runs // SEEDS, "programs": PROGRAMS},
        "assumed": {
            "disk": dataclasses.asdict(DISK),
            "back": BACK,
            "kinds": [dataclasses.asdict(kind) for kind in (CORES, ACCELERATORS)],
        },
        "costs": [
            {"workload": name, "kind": kind.name, **dataclasses.asdict(fleet_costs.costs(studies[name], kind, found))}
            for name, kind in kinds
        ],
        "bytes_left": {name: fleet_costs.bytes_left(study, found) for name, study in studies.items()},
        "fleets": fleets,
        "halved": bounds,
        "cuts": cuts,
    }


def main(argv=None) -> None:
    """Simulates, prints, writes."""
    flags = record.flags("fleet", __doc__)
    flags.add_argument("--costs", type=Path, default=record.RESULTS / "costs.json", help="what benchmarks.costs wrote")
    flags.add_argument("--figure", type=Path, help="PNG; default: docs/scaling.png, of a smoke run beside the JSON")
    args, console = flags.parse_args(argv), Console()
    if not args.costs.exists():
        flags.error(f"--costs={args.costs}: not there; python -m benchmarks.costs writes it")
    costs, path = json.loads(args.costs.read_text()), record.place("fleet", args)
    of = {key: costs[key] for key in ("command", "date", "hardware")}
    found = {**record.opening("fleet"), "measured": of, **measure(costs, args.smoke)}
    tables.show(scaling_chapters.fleet(found), console)
    record.write(found, path, console)
    fleet_plot.plot(found, args.figure or (path.with_suffix(".png") if args.smoke else FIGURE))


if __name__ == "__main__":
    main()
