"""Hosts as one: two processes of two devices each; one is killed, or stopped, and the other must end and say which."""

import functools
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.faults import row, subject
from fmnist_jax import hosts

MOST_SECONDS = 2 * hosts.GONE + 10 * hosts.BEAT  # the promise: within these the others have ended
FLAGS = ("--config.seeds=5", "--config.population.devices=2")  # not a multiple of the hosts, nor of their devices


class Pair:
    """Two hosts of one study."""

    def __init__(self, workdir: Path, *more: str):
        port = _free_port()
        self.processes = []
        for index in range(2):
            flags = (*FLAGS, *more, f"--distributed={index}/2@localhost:{port}")
            with (workdir.parent / f"{workdir.name}.{index}.txt").open("wb") as said:
                command = subject.command(workdir, "mapped", *flags)
                one = subprocess.Popen(command, cwd=subject.ROOT, stdout=subprocess.DEVNULL, stderr=said)
            self.processes.append(one)
        self.said = [workdir.parent / f"{workdir.name}.{index}.txt" for index in range(2)]

    def wait(self) -> list[int]:
        """Their exit statuses."""
        return [one.wait(subject.SECONDS) for one in self.processes]

    def end(self) -> None:
        """Whatever is left of them."""
        for one in self.processes:
            one.kill()
            one.wait()

    def errors(self, index: int) -> str:
        """What one has said on stderr."""
        return self.said[index].read_text(errors="replace")


def measure(full: bool, scratch: Path) -> list[row.Row]:
    """The rows."""
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    whole = subject.undisturbed(scratch / "whole", "mapped", *FLAGS)[0]
    together = [functools.partial(_undisturbed, scratch / f"pair{i}", whole) for i in range(3 if full else 1)]
    rows = [row.of("two processes of two devices train one study", "the bits of one process", together)]
    took: dict[str, float] = {}
    rng = random.Random(0)
    faults = list(itertools.product((signal.SIGKILL, signal.SIGSTOP), (0, 1)))
    chosen = [faults[i % len(faults)] for i in range(20)] if full else [faults[0], faults[3]]
    trials = [
        functools.partial(_gone, scratch / f"gone{i}", signum, victim, rng.uniform(0, 3), whole, took)
        for i, (signum, victim) in enumerate(chosen)
    ]
    rows.append(
        row.of(
            "a host of two is killed, or hangs",
            f"the other ends within {MOST_SECONDS:g} s and names it; the restart has the bits of an undisturbed run",
            trials,
            kind=lambda trial: trial.name.rpartition(" after ")[0],
            facts=lambda: {"longest seconds to the other's end": round(max(took.values(), default=0.0), 1)},
        )
    )
    promise = "both save, say so, exit 143 in under 25 s, or 0 where all was done; "
    promise += "the restart, on both or on one, has the bits"
    phases = [("training", 1), ("training", 0), ("start", 1), ("end", 1), ("training", 1)][: 5 if full else 1]
    trials = [
        functools.partial(_stopped, scratch / f"stopped{i}", *phase, i % 2 == 0, whole)
        for i, phase in enumerate(phases * (4 if full else 1))
    ]
    rows.append(row.of("SIGTERM to a host of two", promise, trials, kind=lambda trial: trial.name.rpartition(";")[0]))
    return rows


def _stopped(workdir: Path, phase: str, victim: int, alone: bool, whole: Mapping[str, bytes]) -> row.Trial:
    name = f"host {victim}, at its {phase}; restarted on {'one' if alone else 'both'}"
    pair = Pair(workdir)
    try:
        if phase == "start":
            _await(pair, lambda: (workdir / "groups/0/group.json").exists())
        elif phase == "training":
            _await(pair, lambda: _has_rows(workdir))
        else:
            _await(pair, lambda: (workdir / "groups/0/done.json").exists())
        start = time.monotonic()
        pair.processes[victim].send_signal(signal.SIGTERM)
        statuses = pair.wait()
        took = time.monotonic() - start
    finally:
        pair.end()
    # At the end, host 0 may have been done, and then host 1 too.
    ends = ([143, 143], [0, 0], [0, 143]) if phase == "end" else ([143, 143],)
    if statuses not in ends or took > 25:
        return row.Trial(name, f"{statuses} after {took:.0f} s: {pair.errors(0)[-200:]} {pair.errors(1)[-200:]}")
    if phase == "training" and "all saved" not in pair.errors(0):
        return row.Trial(name, f"it did not say so: {pair.errors(0)[-300:]}")
    if not alone:
        return row.Trial(name, _undisturbed(workdir, whole).problem)
    subject.run(workdir, "mapped", *FLAGS)
    return row.Trial(name, subject.differing(subject.outcome(workdir), whole))


def _undisturbed(workdir: Path, whole: Mapping[str, bytes], *more: str) -> row.Trial:
    name, pair = "undisturbed", Pair(workdir, *more)
    try:
        statuses = pair.wait()
    finally:
        pair.end()
    if any(statuses):
        return row.Trial(name, f"exit statuses {statuses}: {pair.errors(0)[-300:]} {pair.errors(1)[-300:]}")
    problem = subject.differing(subject.outcome(workdir), whole)
    shutil.rmtree(workdir)
    return row.Trial(name, problem)


def _gone(
    workdir: Path, signum: int, victim: int, after: float, whole: Mapping[str, bytes], took: dict[str, float]
) -> row.Trial:
    name = f"{signal.Signals(signum).name} of host {victim} after {after:.2f} s of training"
    pair, other = Pair(workdir), 1 - victim
    try:
        _await(pair, lambda: _has_rows(workdir))
        time.sleep(after)
        pair.processes[victim].send_signal(signum)
        start = time.monotonic()
        status = pair.processes[other].wait(MOST_SECONDS + 30)
        took[name] = time.monotonic() - start
    except subprocess.TimeoutExpired:
        return row.Trial(name, f"the other is still there after {MOST_SECONDS + 30:g} s")
    finally:
        pair.end()
    said = pair.errors(other)
    if status != hosts.STATUS or f"host {victim} of 2 (process {pair.processes[victim].pid} on" not in said:
        return row.Trial(name, f"exit status {status}, and said {said[-300:]!r}")
    if took[name] > MOST_SECONDS:
        return row.Trial(name, f"ended after {took[name]:.0f} s")
    again = _undisturbed(workdir, whole)
    return row.Trial(name, again.problem and f"restarted: {again.problem}")


def _has_rows(workdir: Path) -> bool:
    return any(path.stat().st_size for path in workdir.glob("groups/*/metrics.jsonl"))


def _await(pair: Pair, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + subject.SECONDS
    while not there():
        if any(one.poll() is not None for one in pair.processes):
            raise RuntimeError(f"ended before it came to that: {pair.errors(0)[-200:]} {pair.errors(1)[-200:]}")
        if time.monotonic() > deadline:
            raise RuntimeError("it never came to that")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]
