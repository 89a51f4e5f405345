"""Memory that is not enough: a group's runs go on in narrower groups, and no other group comes to any harm.

While a session stands at a point, RLIMIT_DATA leaves it so much more memory, and the large arm's states, which are to
come, take more: JAX raises RESOURCE_EXHAUSTED, NumPy a MemoryError, as on a machine that gives no more. Nothing catches
the rest: the kernel kills a process that uses more than there is, TensorStore and LLVM abort where a small block of
their own is refused, and XLA may wait for a buffer that never comes. For a study that is a kill (kills.py), or a signal
away from one (signals.py).
"""

import functools
import hashlib
import json
import resource
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

from benchmarks.faults import row
from benchmarks.faults.row import Row
from benchmarks.faults.sessions import Ended, Session, kind, trial
from fmnist_jax import places, writers

FLAGS = ("--config.population.devices=2",)  # on any machine: a device has one run's step at work
# What is freed goes back at once, and large blocks in one piece: no memory is lost between them.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
SMALL = "dense=8"  # the arm that must not be harmed; its group is trained first
# MB: for half of the runs of `wide` (four need 1,940, two 1,200), for a quarter (one needs 730), for no run of `huge`.
# There is much between what fits and what does not: where XLA is refused a small block, it was seen to wait for ever.
HALF, QUARTER, NONE = 1_500, 950, 1_000
ALONE = "out of memory with one run alone; take a smaller train.batch_size or evaluation.batch_size"


def measure(full: bool, scratch: Path) -> list[Row]:
    """Of groups that fit when they are narrower, and of one that never does."""
    trials = []
    for i in range(5 if full else 1):
        trials.append(trial(f"half of a group fits, {i}", _narrower(HALF, 1, scratch), scratch))
        trials.append(trial(f"no run of a group fits, {i}", lambda own: alone(own, scratch), scratch))
        if full:
            trials.append(trial(f"a quarter of a group fits, {i}", _narrower(QUARTER, 3, scratch), scratch))
    promise = "its runs go on in groups of half the width; all that fits has the same bits, what does not is named"
    return [row.of("out of memory in a group", promise, trials, kind)]


def _narrower(megabytes: int, splits: int, scratch: Path) -> Callable[[Path], str]:
    return lambda own: narrower(own, scratch, megabytes, splits)


def narrower(own: Path, scratch: Path, megabytes: int, splits: int) -> str:
    """The problem of a study whose large group must be split so often before it fits."""
    wanted = undisturbed(scratch)
    ended = limited(own / "w", "wide", megabytes)
    made = len(list((own / "w").glob("groups/*/split.json")))
    if ended.status or made != splits:
        return f"{made} groups were split: {ended.words}"
    got = of_runs(own / "w")
    return f"differs in {', '.join(_unlike(got, wanted))}" if got != wanted else ""


def alone(own: Path, scratch: Path) -> str:
    """The problem of a study that has an arm of which not even one run fits."""
    wanted = {run: digest for run, digest in undisturbed(scratch).items() if run.startswith(SMALL)}
    ended = limited(own / "w", "huge", NONE)
    if ended.status != 1 or ALONE not in ended.error or "Traceback" in ended.error:
        return ended.words
    failed = [f for f in writers.read_json(own / "w/failures.json")["failures"] if f["error"] == ALONE]
    if len(failed) != 4:
        return f"{len(failed)} of 4 runs are named"
    got = of_runs(own / "w")
    return f"differs in {', '.join(_unlike(got, wanted))}" if got != wanted else ""


def _unlike(got: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return sorted(run for run in got.keys() | wanted.keys() if got.get(run) != wanted.get(run))


@functools.cache
def undisturbed(scratch: Path) -> dict[str, str]:
    """`of_runs` of the study with all the memory it needs."""
    workdir = Path(tempfile.mkdtemp(dir=scratch)) / "w"
    ended = Session(workdir, "wide", *FLAGS).end()
    if ended.status:
        raise RuntimeError(f"undisturbed: {ended.words}")
    return of_runs(workdir)


def limited(workdir: Path, part: str, megabytes: int) -> Ended:
    """A session that gets no more than so much, from the end of its first group to the end of its training."""
    session = Session(workdir, part, *FLAGS, at=("after done.json", 1, "stop"), env=ALLOCATOR, typed=True)
    if not session.wait_stopped():
        raise RuntimeError(f"its first group never ended: {session.end().words}")
    status = Path(f"/proc/{session.pid}/status").read_text()
    has = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    resource.prlimit(session.pid, resource.RLIMIT_DATA, (has + megabytes * 2**20, resource.RLIM_INFINITY))
    session.send(signal.SIGCONT)
    if session.wait_until(lambda: not _waiting(workdir)):
        resource.prlimit(session.pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return session.end()


def _waiting(workdir: Path) -> bool:
    """Whether there is a group still to train; a split one is none, but its runs are in others a moment later."""
    there = [place for place in places.there(workdir) if place.most is None]  # asked once: it may be split meanwhile
    return sum(len(place.runs) for place in there) < 8 or any(not p.trained and not p.failure for p in there)


def of_runs(workdir: Path) -> dict[str, str]:
    """Arm and seed -> a digest of its rows, its results and its arrays in the last checkpoint, of what was trained."""
    found = {}
    for place in places.there(workdir):
        if place.most is not None or not place.trained:
            continue
        rows = list(writers.read_rows(place.directory / "metrics.jsonl"))
        results = writers.read_json(place.directory / "done.json")["results"]
        saved = (place.directory / "checkpoints" / str(place.step) / "default").absolute()
        with ocp.StandardCheckpointer() as checkpointer:
            shapes = checkpointer.metadata(saved).item_metadata
            arrays = checkpointer.restore(saved, {name: np.empty(of.shape, of.dtype) for name, of in shapes.items()})
        for i, result in enumerate(results):
            run = f"{result['arm']}, seed {result['seed']}"
            own = [one for one in rows if (one["arm"], one["seed"]) == (result["arm"], result["seed"])]
            digest = hashlib.sha256(json.dumps([own, result]).encode())
            for name in sorted(arrays):
                digest.update(np.asarray(arrays[name][i]).tobytes())
            found[run] = digest.hexdigest()
    return found
