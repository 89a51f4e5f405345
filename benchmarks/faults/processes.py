"""Several processes: two on one workdir, those that died in it, numbers used again, and groups that are shared.

Races are run by two processes that meet at a barrier before each.
"""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import racers, row, subject
from benchmarks.faults.row import Row, Trial
from benchmarks.faults.sessions import Session, Whole, everything, kind, trial, whole
from fmnist_jax import leases

QUICK = ("--config.train.duration=16 epochs",)
FOUR_GROUPS = (*QUICK, "--config.seeds=4", "--config.population.most_runs=1")
IN_USE = r"in use by process (\d+) on (\S+?);"
LEASE, BEAT = 0.3, 0.05  # seconds


def measure(full: bool, scratch: Path) -> list[Row]:
    """Of the lock of a workdir, then of the claims of groups."""
    rounds = 300 if full else 30  # a hundred of each kind of what is there before
    one_works = "one works, the other is refused with the number and the host of the one that does"
    never_blocks = "a lock that a killed process left, or whose number is another's now, blocks nobody"
    commands = [
        trial(f"two commands at once, {i}", lambda own: two_commands(own, scratch), scratch)
        for i in range(10 if full else 2)
    ]
    killed = [trial(f"killed while it had it, {i}", take_after_kill, scratch) for i in range(100 if full else 10)]
    shared = [
        trial(f"{'one of them killed' if i % 2 else 'both to the end'}, {i}", _shared(i, scratch), scratch)
        for i in range(10 if full else 2)
    ]
    return [
        row.of("two commands at once on one workdir", one_works, commands, kind),
        row.of("two processes at one lock", one_works, raced(racers.locks, locked, rounds, scratch), kind),
        row.of("the lock of a killed process", never_blocks, killed, kind, at_once=2),
        row.of("two processes at one group", "one has it", raced(racers.claims, claimed, rounds, scratch), kind),
        row.of("claims of the dead and of the living", "the dead never block, the living do", _claims(scratch), kind),
        row.of("two commands that share a workdir", "no group is trained twice; the same bits", shared, kind),
    ]


def two_commands(own: Path, scratch: Path) -> str:
    """The problem of a study that two processes are told to make at once."""
    wanted = whole(scratch, "mapped", *QUICK)
    both = [Session(own / "w", "mapped", *QUICK) for _ in range(2)]
    pids = [one.pid for one in both]
    ends = [one.end() for one in both]
    if sorted(one.status for one in ends) != [0, 2]:
        return "; ".join(one.words for one in ends)
    at = [one.status for one in ends].index(0)
    if problem := refused(ends[1 - at].error, pids[at]):
        return problem
    return subject.differing(everything(own / "w"), wanted.outcome)


def refused(said: str, by: int) -> str:
    """What is wrong with what a process that is refused says."""
    found = re.search(IN_USE, said)
    if not found or (int(found[1]), found[2]) != (by, socket.gethostname()):
        return f"process {by} has it, but the other says {said.strip()[-200:]!r}"
    return ""


def raced(run: Callable, judge: Callable[[str, str, tuple[int, int]], str], rounds: int, scratch: Path) -> list:
    """A trial a round of a race, which is run when the first is asked for.

    Args:
      run: of benchmarks.faults.racers.
      judge: of what both found in a round, and their process ids.
    """
    names = [("nothing there", "a dead one's there", "a used number's there")[i % 3] for i in range(rounds)]
    found = functools.cache(lambda: racers.race(run, names, scratch))

    def made(i: int) -> Trial:
        first, second, pids = found()
        return Trial(f"{names[i]}, {i}", judge(first[i], second[i], pids))

    return [functools.partial(made, i) for i in range(rounds)]


def locked(first: str, second: str, pids: tuple[int, int]) -> str:
    """The problem of a race for a lock: each found "" where it had it, else what it was told."""
    if (first == "") == (second == ""):
        return f"both: {first!r}, {second!r}"
    return refused(second, pids[0]) if first == "" else refused(first, pids[1])


def claimed(first: str, second: str, pids: tuple[int, int]) -> str:
    """The problem of a race for a group: each found "taken" or not."""
    return "" if sorted((first, second)) == ["", "taken"] else f"{first or 'not taken'}, and {second or 'not taken'}"


def take_after_kill(own: Path) -> str:
    """The problem of taking the lock of a process that was killed while it had it."""
    process = racers.holder(own)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = (own / "lock").read_text()
    if str(process.pid) not in left:
        return f"it left {left!r}"
    return racers.try_lock(own)


def _claims(scratch: Path) -> list:
    """(claim, whether it must block for a moment, whether still after LEASE)."""
    me = leases._process()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    claim = {"held": 1, "holder": "process 1 on elsewhere", "process": me, "beats": "0" * 12}
    cases = {
        "its process has ended": (claim | {"process": me | {"id": dead.pid}}, False),
        "its number is another's": (claim | {"process": me | {"began": "1"}}, False),
        "it was let go": (claim | {"held": 0}, False),
        "its process lives": (claim, True),
        "it is of another machine": (claim | {"process": me | {"space": "elsewhere"}}, True),
        "it does not say whose it is": (claim | {"process": None}, True),
        "it is torn": (None, True),
    }
    return [
        trial(name, functools.partial(_claim, content=content, blocks=blocks), scratch)
        for name, (content, blocks) in cases.items()
    ]


def _claim(own: Path, content: dict | None, blocks: bool) -> str:
    (own / f"{leases.NAME}.0").write_text('{"held": 1, "hol' if content is None else json.dumps(content))
    watch = leases.Watch(LEASE, BEAT)
    claim = watch.take(own)
    if (claim is None) != blocks:
        return "it blocked" if blocks is False else "it was taken from the living"
    if blocks:
        time.sleep(1.2 * LEASE)
        if (claim := watch.take(own)) is None:
            return f"it blocked for longer than {LEASE} s of silence"
    claim.close()
    return ""


def _shared(i: int, scratch: Path) -> Callable[[Path], str]:
    return lambda own: two_that_share(own, scratch, i) if i % 2 else two_that_share(own, scratch)


def two_that_share(own: Path, scratch: Path, kill_in: int | None = None) -> str:
    """The problem of a study of four groups that two processes train, one of which may be killed."""
    wanted, workdir = whole(scratch, "mapped", *FOUR_GROUPS), own / "w"
    both = [Session(workdir, "mapped", *FOUR_GROUPS, "--claim") for _ in range(2)]
    victim, pids = None, [one.pid for one in both]
    if kill_in is not None:
        victim = both[0]
        victim.wait_until(lambda: any(str(victim.pid) in p.read_text() for p in workdir.glob("groups/*/claim.*")))
        time.sleep(0.2 * (kill_in % 5))
        victim.send(signal.SIGKILL)
    statuses = {one: one.end() for one in both}
    for one, ended in statuses.items():
        if ended.status != (-signal.SIGKILL if one is victim else 0):
            return f"of {pids}: {ended.words}"
    return subject.differing(everything(workdir), wanted.outcome) or trained_twice(workdir, wanted, victim is not None)


def trained_twice(workdir: Path, wanted: Whole, killed: bool) -> str:
    """What was trained more than once, by what its processes say; a kill may cost a group a segment."""
    for group in sorted(workdir.glob("groups/*/group.json")):
        timings = [json.loads(path.read_text()) for path in group.parent.glob("sessions/*.json")]
        images, once = sum(one["images"] for one in timings), wanted.images[group.parent.name]
        if not once <= images <= once + killed * once // wanted.segments:
            return f"group {group.parent.name}: {images:,} images, not {once:,}"
    return ""
