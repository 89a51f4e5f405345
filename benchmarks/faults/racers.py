"""Processes that race for a lock or a claim, and such as hold one."""

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.faults.forks import CONTEXT, Fork
from fmnist_jax import leases, workdir
from fmnist_jax.errors import UserError

SECONDS = 60  # after which one waits in vain for the other


def race(run: Callable, rounds: Sequence[str], scratch: Path) -> tuple[list[str], list[str], tuple[int, int]]:
    """What each of two processes found in each round, and their ids.

    Args:
      run: `locks` or `claims`.
      rounds: what is there before each.
    """
    directories = [scratch / f"{run.__name__}{i}" for i in range(len(rounds))]
    for directory, there in zip(directories, rounds, strict=True):
        directory.mkdir()
        leave(directory, there)
    barrier, processes, ends = CONTEXT.Barrier(2), [], []
    for _ in range(2):
        end, other = CONTEXT.Pipe(duplex=False)
        ends.append(end)
        processes.append(Fork(run, directories, barrier, other))
    found = [end.recv() if end.poll(SECONDS) else ["nothing"] * len(rounds) for end in ends]
    for process in processes:
        process.join(SECONDS)
    return *found, tuple(process.pid for process in processes)


def leave(directory: Path, there: str) -> None:
    """What a process has left that is dead, or whose number another process has by now; or nothing."""
    me = leases._process()
    number = {"a dead one's there": 2**22 + 1, "a used number's there": os.getpid()}.get(there)
    if number:
        (directory / "lock").write_text(f"process {number} on {socket.gethostname()}\n")
        claim = {"held": 1, "holder": "process 1", "process": me | {"id": number, "began": "1"}, "beats": "0" * 12}
        (directory / f"{leases.NAME}.0").write_text(json.dumps(claim))


def locks(directories: Sequence[Path], barrier: Barrier, end) -> None:
    """Tries to take each lock when the other does, and holds it until the other has tried."""
    found = []
    for directory in directories:
        barrier.wait(SECONDS)
        try:
            with workdir.lock(directory):
                found.append("")
                barrier.wait(SECONDS)
        except UserError as error:
            found.append(str(error))
            barrier.wait(SECONDS)
    end.send(found)


def claims(directories: Sequence[Path], barrier: Barrier, end) -> None:
    """The same of a group's claim; who has it also checks it."""
    watch, found = leases.Watch(), []
    for directory in directories:
        barrier.wait(SECONDS)
        claim = watch.take(directory)
        barrier.wait(SECONDS)
        if claim:
            claim.check()
            claim.close()
        found.append("taken" if claim else "")
    end.send(found)


def holder(directory: Path) -> Fork:
    """A process that has the lock of `directory`, for ever."""
    end, other = CONTEXT.Pipe(duplex=False)
    process = Fork(_hold, directory, other)
    end.recv()
    return process


def _hold(directory: Path, end) -> None:
    with workdir.lock(directory):
        end.send("taken")
        signal.pause()


def try_lock(directory: Path) -> str:
    """What keeps this process from taking the lock of `directory`."""
    try:
        with workdir.lock(directory):
            return ""
    except UserError as error:
        return str(error)
