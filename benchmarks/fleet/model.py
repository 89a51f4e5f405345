"""A fleet of hosts that share a study by --claim, as fmnist_jax.leases has it: discrete events, seeded. A leaf.

A host starts a process, waits for its turn to begin, looks for a free group, compiles its program, trains it segment by
segment with a checkpoint after each, which goes to the disk while the next is trained, and looks again. A host that is
preempted is away for a while, and then starts anew. Its group is another's when that one has seen its claim unchanged
for the time of a lease: a busy host looks between two groups, one without a group every `poll` seconds. When all groups
are trained, their tests are shared alike, and who finds all done writes the tables; then the study has its answer, and
its hosts are let go.
"""

import dataclasses
import math
from collections.abc import Generator

import numpy as np

from benchmarks.server import Server

TRAINING, STARTING, TURN, LOOKING = "training", "starting", "waiting for a turn", "looking for a group"
COMPILING, AGAIN, OPENING, RESTORING = "compiling", "compiling again", "opening groups", "restoring"
LOADING, SAVING, DISK, LOST = "loading programs", "checkpoints", "waiting for the disk", "lost since a checkpoint"
LEASE, IDLE, TESTING, CONCLUDING = "waiting for a lease", "nothing left to take", "testing", "tables"
CAUSES = {  # of a second of a host that is there -> what it says
    TRAINING: "what ends in a whole checkpoint",
    STARTING: "a process that starts, up to where it asks for its turn",
    TURN: "waiting for the turn to begin, which one process has at a time, and having it",
    LOOKING: "between two groups, up to the next one that is free",
    COMPILING: "a program that no host has compiled before",
    AGAIN: "a program that another host has compiled, or this one before it was preempted",
    LOADING: "the same, out of a cache that all hosts share",
    OPENING: "taking a group up, and closing it",
    RESTORING: "a group that goes on from a checkpoint",
    SAVING: "a checkpoint, as long as the next segment waits for it",
    DISK: "for an earlier checkpoint that is still on its way, or for one to be read",
    LOST: "training that was in no whole checkpoint when its host was preempted",
    LEASE: "no group is free, but one is of a host that is gone, and its lease has not passed yet",
    IDLE: "another has whatever is left to train or to test, or writes the tables",
    TESTING: "groups, when all are trained: first those that a host has trained, then others, which it reads",
    CONCLUDING: "on one host",
}
TOOK_TOO_LONG, TOO_MANY_PREEMPTIONS = "too long", "too many preemptions"  # why a simulation was given up


@dataclasses.dataclass(frozen=True)
class Work:
    """What there is to train."""

    groups: int
    segments: int = 1  # of a group, from one checkpoint to the next
    programs: int = 1  # that the groups are of, in order


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a host takes, in seconds; where said, in bytes that go to the shared disk or operations on its files."""

    segment: float = 0.0  # of training a whole group from one checkpoint to the next, with its evaluations
    start: float = 0.0  # of a process, until it asks for its turn
    start_operations: float = 0.0
    begin: float = 0.0  # in its turn: one host at a time
    make: float = 0.0  # in the first one's turn, beside that
    look: float = 0.0
    look_trained: float = 0.0  # more of it, a group that is trained
    look_new: float = 0.0  # ... that has been trained since this process last looked
    look_new_bytes: float = 0.0
    look_operations: float = 0.0
    look_operations_trained: float = 0.0  # more of them, a group that is trained; of fewer, less than zero
    look_operations_held: float = 0.0  # ... a group that another host has
    look_operations_new: float = 0.0
    compile: float = 0.0  # of a program, where it is in no cache
    load: float = 0.0  # ... where it is in one that all hosts share
    group: float = 0.0  # of taking one up and closing it, but for compiling
    restore: float = 0.0  # of a group that goes on from a checkpoint
    checkpoint: float = 0.0  # before the next segment begins
    checkpoint_bytes: float = 0.0  # and what goes to the disk meanwhile
    test: float = 0.0  # of a group; a host that has not trained it reads its checkpoint before
    test_operations: float = 0.0  # of a group, before that
    test_operations_each: float = 0.0  # of every process and every group, before its first one
    test_compile: float = 0.0  # of a program's test, as `compile`
    tables: float = 0.0


@dataclasses.dataclass(frozen=True)
class Disk:
    """What all hosts share: a second, of all of them, and at most of one."""

    bytes: float = math.inf
    bytes_each: float = math.inf
    operations: float = math.inf
    operations_each: float = math.inf


@dataclasses.dataclass(frozen=True)
class Fleet:
    """Hosts, and how long they last."""

    hosts: int
    devices: float = 1  # of a host
    preemptions: float = 0.0  # an hour and host, on average; at any time alike
    back: float = 0.0  # seconds until a preempted host is there again
    notice: bool = False  # whether a process hears of it in time to save, and to let go of its group
    shared_cache: bool = False  # of compiled programs: every host's, and not lost with it
    beat: float = 10.0  # seconds, as fmnist_jax.leases has them
    lease: float = 60.0
    poll: float = 2.0  # between two looks of a process without a group, as fmnist_jax.study has it


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it. Device-seconds are of hosts that were there, until the answer."""

    seconds: float  # until the answer; infinite, where the simulation was given up before
    trained_seconds: float  # until the last group was trained
    spent: dict[str, float]  # cause -> device-seconds
    device_seconds: float
    preemptions: int
    takeovers: int
    ends: tuple[int, ...]  # how often each group was trained to its end
    given_up: str | None = None  # why, if it was

    @property
    def waste(self) -> float:
        """The share of all device-seconds that is no training."""
        return 1 - self.spent[TRAINING] / self.device_seconds if self.device_seconds else 0.0


class Host:
    """A host as the simulation has it."""

    __slots__ = (
        *("index", "life", "lives", "version", "born", "since", "cause", "job", "saving", "waits", "unsaved"),
        *("group", "looks", "known", "programs", "chance", "trained", "testing"),
    )

    def __init__(self, index: int, chance: np.random.Generator):
        self.index, self.lives, self.version = index, 0, 0  # a version a wait: the end of an older one is of the past
        self.chance = chance  # its own, so that what one host draws does not depend on what others do
        self.life: Generator | None = None  # of the process that is there; None while it is away

    def starts(self, now: float, life: Generator) -> None:
        """A process that knows nothing yet, of a host that has no cache yet."""
        self.life, self.born, self.since, self.cause = life, now, now, STARTING
        self.lives += 1
        self.job: tuple[Server, int] | None = None  # that it waits for
        self.saving: tuple[int, float, float] | None = None  # (job, segments, seconds) on their way to the disk
        self.waits = False  # for that
        self.unsaved = 0.0  # seconds of training in no whole checkpoint
        self.group: int | None = None
        self.looks: list[float] = []
        self.known = 0  # groups that it has read the results of
        self.trained: dict[int, None] = {}  # groups, in order
        self.testing = False  # whether it has begun to
        self.programs: set[tuple[str, int]] = set()  # that it has, of what and of which groups
