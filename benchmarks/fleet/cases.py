"""What is simulated: a million runs on so many devices, at such a rate of preemptions, with one cost changed."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.fleet import costs as fleet_costs
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
