"""What grows with a study and not with its training: to begin, to look for a group, and to write the tables.

A process of its own makes the workdir of a study with the product's own code, in which nothing is trained: the loop of
`--claim` runs as it is, but what trains a group writes made-up results instead. So the looks are the product's, with
their seconds and their operations on files.
"""

import builtins
import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from benchmarks import children, neighbours, scale
from fmnist_jax import arms, config, leases, results, sharding, study, writers
from fmnist_jax.share import Share
from fmnist_jax.store import Disk

LOOKS = 6  # that are timed in one process: its first, and those after it
ROUNDS, TRIES = 3, 2  # of each size; times as many, if they are disturbed
CALLS = {  # what asks the file system for something, in the modules that the product reaches it by
    os: ("stat", "lstat", "open", "listdir", "scandir", "link", "unlink", "rename", "replace", "mkdir", "fsync"),
    io: ("open",),
    builtins: ("open",),
}


class Size(NamedTuple):
    """Of a made-up study: arms x seeds in groups of so many runs; groups that are trained, and that others have."""

    arms: int
    seeds: int
    most: int
    trained: int
    held: int


class Tables(NamedTuple):
    """Of a made-up study that is done: runs (ten of an arm), and groups."""

    runs: int
    groups: int


SIZES = (
    *(Size(100, 10, 10, 10, 0), Size(100, 10, 10, 80, 0), Size(100, 10, 10, 10, 60)),
    *(Size(1000, 10, 20, 100, 0), Size(1000, 10, 20, 400, 0), Size(1000, 10, 200, 30, 0)),
    *(Size(1000, 2, 20, 20, 60), Size(3000, 2, 60, 60, 0)),
)
UNSEEN = Size(10_000, 10, 50, 1000, 200)
TABLES, UNSEEN_TABLES = (Tables(1000, 4), Tables(6000, 4), Tables(20_000, 4), Tables(20_000, 400)), Tables(30_000, 200)


class Enough(Exception):
    """All looks that were asked for have been made."""


@contextlib.contextmanager
def counting(below: Path) -> Iterator[list[int]]:
    """[operations on files below a directory so far], of this thread: a claim beats by the clock, in one of its own."""
    count, root, own = [0], str(below), threading.get_ident()
    kept = [(module, name, getattr(module, name)) for module, names in CALLS.items() for name in names]

    def counted(call):
        def instead(of=".", *args, **kwargs):
            if threading.get_ident() == own:
                count[0] += isinstance(of, int) or os.fsdecode(of).startswith(root)  # of a number: a file that is open
            return call(of, *args, **kwargs)

        return instead

    try:
        for module, name, call in kept:
            setattr(module, name, counted(call))
        yield count
    finally:
        for module, name, call in kept:
            setattr(module, name, call)


def made_up(size: Size) -> config.Experiment:
    """A study of so many arms, whose one program nobody compiles."""
    made = config.default()
    made.platform, made.dataset.name = "cpu", "synthetic:240"
    made.model.family, made.model.dense = "mlp", (5,)
    made.writers.page = made.writers.tensorboard = False
    made.seeds, made.population.most_runs = size.seeds, size.most
    made.sweep = tuple({"optimizer.learning_rate": float(rate)} for rate in np.geomspace(1e-4, 1e-1, size.arms))
    return config.parse(made)


def observe(size: Size, directory: Path) -> dict:
    """Seconds and operations of a process's beginning, of its turn, and of its looks."""
    checked, quiet = made_up(size), Console(file=io.StringIO())
    first = study._Study(checked, arms.arms_of(checked), Disk(directory), quiet, Share(claim=True))
    with first.store.lock(shared=True), counting(directory) as operations:
        start = _Clock(operations)
        first._begin(False)
        make = start.split()
        places = first.standing.refresh().places
        for place in places[: size.trained]:
            _finish(place)
        for place in places[size.trained : size.trained + size.held]:
            claim = {"held": 1, "holder": "process 1 on elsewhere", "process": None, "beats": "0" * 12}
            (place.directory / f"{leases.NAME}.0").write_text(json.dumps(claim))
        start = _Clock(operations)
        later = study._Study(checked, arms.arms_of(checked), Disk(directory), quiet, Share(claim=True))
        if not later.finished():
            later.divide()
        assert later.names  # which the first look would make, once a process
        before = start.split()
        with later.store.turn():
            later.finished()
        with later.store.turn():
            later._begin(False)
        begin = start.split()
        looks = _looks(later, operations, size.held)
    counts = {**size._asdict(), "runs": size.arms * size.seeds, "groups": len(places)}
    return {**counts, "make": make, "before": before, "begin": begin, "looks": looks}


class _Clock:
    """Seconds and operations since the last time that it was asked."""

    def __init__(self, operations: list[int]):
        self._operations = operations
        self._at = time.perf_counter(), operations[0]

    def split(self) -> dict:
        now = time.perf_counter(), self._operations[0]
        since, self._at = self._at, now
        return {"seconds": now[0] - since[0], "operations": now[1] - since[1]}


def _looks(made: study._Study, operations: list[int], held: int) -> list[dict]:
    """Each look's seconds and operations, and how many groups were trained, and newly so, when it was made."""
    found, clock = [], _Clock(operations)
    trained = sum(place.trained for place in made.standing.places)
    most = min(LOOKS, len(made.standing.places) - trained - held)

    def instead(place, live, still_ours) -> None:
        new = 1 if found else trained
        found.append({**clock.split(), "trained": trained + len(found), "new": new})
        if len(found) == most:
            raise Enough
        _finish(place)
        clock.split()

    made._train = instead
    clock.split()
    with contextlib.suppress(Enough):
        made._train_all()
    return found


def _finish(place) -> None:
    """What a group leaves that is trained."""
    rows = [
        {
            **{"arm": place.contents["arms"][i]["name"], "seed": seed, "fold": fold, "dataset": "made up", "step": 100},
            **{"epoch": 1.0, "train_loss": 0.51234567, "train_accuracy": 0.81234567, "validation_loss": 0.51234567},
            **{"validation_accuracy": 0.81234567, "validation_top_k_accuracy": 0.99, "validation_ece": 0.0212345},
            **{"diverged_at": None, "stopped_at": None},
        }
        for i, seed, fold in place.contents["runs"]
    ]
    (place.directory / "sessions").mkdir(exist_ok=True)
    (place.directory / "checkpoints").mkdir(exist_ok=True)
    writers.write_json(place.directory / "checkpoints" / "100.manifest.json", {})
    timing = {"wall_seconds": 1.0, "compile_seconds": 0.0, "images": 1}
    writers.write_json(place.directory / "sessions" / "made_up.json", timing)
    writers.write_json(place.directory / "done.json", {"results": rows, "step": 100, "mode": "vmap", "devices": 2})


def observe_tables(size: Tables, directory: Path) -> dict:
    """Seconds of the tables and the page of a study that is done, and the peak of memory."""
    scale.make_workdir(directory, size.runs, size.groups)
    start = time.perf_counter()
    results.write(directory, Console(quiet=True))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {**size._asdict(), "arms": size.runs // scale.SEEDS, "seconds": seconds, "bytes": peak}


def measure(books: list[dict], smoke: bool, keep: Callable[[], None], patience: float = 0.0) -> None:
    """Adds to `books` what is missing of it: of each size ROUNDS that nobody disturbed, in a process of its own each.

    Args:
      keep: called after each.
      patience: seconds to wait before each for other processes to be quiet.
    """
    sizes = [Size(4, 3, 2, 2, 1), Tables(500, 2)] if smoke else [*SIZES, UNSEEN, *TABLES, UNSEEN_TABLES]
    rounds = 1 if smoke else ROUNDS

    def lacks(size: Size | Tables) -> bool:
        there = [one for one in books if (one["kind"], *one["size"]) == (type(size).__name__, *size)]
        return len(neighbours.undisturbed(there)) < rounds and len(there) < TRIES * rounds

    while missing := [size for size in sizes if lacks(size)]:
        for size in missing:
            neighbours.wait(patience)
            others = neighbours.Neighbours()
            done = children.python(["-m", "benchmarks.bookkeeping", type(size).__name__, *map(str, size)])
            found, seen = json.loads(done.output.splitlines()[-1]), size not in (UNSEEN, UNSEEN_TABLES)
            of = {"kind": type(size).__name__, "size": list(size), "seen": seen}
            books.append({**of, "found": found, "others": others.share()})
            keep()


def main() -> None:
    """What the process measures that `measure` starts."""
    kind, *size = sys.argv[1:]
    sharding.configure("cpu")
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made_up"
        if kind == "Tables":
            print(json.dumps(observe_tables(Tables(*map(int, size)), made)))
        else:
            print(json.dumps(observe(Size(*map(int, size)), made)))


if __name__ == "__main__":
    main()
