"""What a process of a simulated fleet does, from its start to the end of the study: what it waits for, and why.

The wait comes first, the cause it is booked under last: ("sleep", seconds, cause), ("operations", count, cause),
("transfer", bytes, cause), ("saved", None, cause), ("turn", None, cause), ("park", None, None).
"""

import math
from collections.abc import Iterator

from benchmarks.fleet import model as model

NEARLY = 1e-9  # of a segment: what rounding leaves of it is done
Wait = tuple[str, float | None, str | None]


def life(fleet, host: model.Host) -> Iterator[Wait]:
    """The process of `host` in a `fleet_events.Simulation`."""
    if fleet.tested < fleet.work.groups:  # one that comes later has nothing to do but to wait
        yield from _begin(fleet)
    while fleet.tested < fleet.work.groups:
        if fleet.training:
            yield from _look(fleet, host)
        fleet.pool.take(host, fleet.now)
        if host.group is None and fleet.tested < fleet.work.groups:
            yield "park", None, None  # until there is a group for it, or nothing left to train or to test
        if host.group is not None:
            yield from _train(fleet, host, host.group) if fleet.training else _test(fleet, host, host.group)
    if fleet.concluder is not None:
        yield "park", None, None  # until the study has its answer, or whoever concludes is gone
    fleet.concluder = host
    yield "sleep", fleet.costs.tables, model.CONCLUDING
    fleet.ended = fleet.now


def _begin(fleet) -> Iterator[Wait]:
    costs = fleet.costs
    yield "sleep", costs.start, model.STARTING
    yield "operations", costs.start_operations, model.STARTING
    yield "turn", None, model.TURN


def _look(fleet, host: model.Host) -> Iterator[Wait]:
    costs, new = fleet.costs, fleet.trained - host.known
    host.known = fleet.trained
    yield "sleep", fleet.pool.thought(fleet.trained) + costs.look_new * new, model.LOOKING
    yield "operations", fleet.pool.asked(fleet.trained) + costs.look_operations_new * new, model.LOOKING
    yield "transfer", costs.look_new_bytes * new, model.LOOKING
    host.looks.append(fleet.now)


def _train(fleet, host: model.Host, group: int) -> Iterator[Wait]:
    costs, work, program = fleet.costs, fleet.work, _program_of(fleet, group)
    yield from _program(fleet, host, "training", program, costs.compile)
    yield "sleep", costs.group, model.OPENING
    if (at := fleet.done[group]) > 0:
        yield "sleep", costs.restore, model.RESTORING
        yield "transfer", costs.checkpoint_bytes, model.DISK
    while at < work.segments - NEARLY:
        end = math.floor(at + NEARLY) + 1
        yield "sleep", (end - at) * costs.segment, model.TRAINING
        at = end
        yield "saved", None, model.DISK  # the one before: there is one on its way at a time
        yield "sleep", costs.checkpoint, model.SAVING
        fleet.save(host, at)
    yield "saved", None, model.DISK
    fleet.finish(host)


def _test(fleet, host: model.Host, group: int) -> Iterator[Wait]:
    """What it has trained itself, it need not read; the first time, it looks at every group."""
    costs, own = fleet.costs, group in host.trained
    if not host.testing:
        yield "operations", costs.test_operations_each * fleet.work.groups, model.LOOKING
        host.testing = True
    host.looks.append(fleet.now)
    yield "operations", costs.test_operations, model.LOOKING
    yield from _program(fleet, host, "test", _program_of(fleet, group), costs.test_compile)
    yield "transfer", 0.0 if own else costs.checkpoint_bytes, model.TESTING
    yield "sleep", costs.test, model.TESTING
    fleet.finish_test(host)


def _program_of(fleet, group: int) -> int:
    return group * fleet.work.programs // fleet.work.groups


def _program(fleet, host: model.Host, what: str, number: int, seconds: float) -> Iterator[Wait]:
    """Compiled, or loaded, if this process has not got it."""
    program = what, number
    if program in host.programs:
        return
    if program not in fleet.compiled:
        yield "sleep", seconds, model.COMPILING
    elif fleet.fleet.shared_cache:
        yield "sleep", fleet.costs.load, model.LOADING
    else:
        yield "sleep", seconds, model.AGAIN
    host.programs.add(program)
    fleet.compiled.add(program)
