"""Points that a session passes, by name, and what it takes to be told when it does."""

import itertools
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

from orbax.checkpoint._src.path import deleter

from fmnist_jax import checkpoint, population, writers

MARK = "FAULTS_MARK"
WITHIN = 0.05  # seconds after a call has begun


class Passing:
    """Counts how often a point is passed, and acts the nth time."""

    def __init__(self, nth: int, action: Callable[[], None]):
        self.nth, self.action, self._count = nth, action, itertools.count(1)

    def __call__(self) -> None:
        if self.reached():
            self.act()

    def reached(self) -> bool:
        """Whether this is the time; asked once each."""
        return next(self._count) == self.nth

    def act(self) -> None:
        """Says that it is there, and does it."""
        if mark := os.environ.get(MARK):
            Path(mark).touch()
        self.action()


Patch = Callable[[Passing, Callable], None]  # puts a Passing where its point is, with something like setattr


def _call(owner, name: str, when: str) -> Patch:
    """Before a function, after it, or a little after it has begun."""

    def patch(passing: Passing, put: Callable) -> None:
        real = getattr(owner, name)

        def passed(*args, **kwargs):
            if when == "before":
                passing()
            elif when == "within" and passing.reached():
                threading.Timer(WITHIN, passing.act).start()
            found = real(*args, **kwargs)
            if when == "after":
                passing()
            return found

        put(owner, name, passed)

    return patch


def _file(when: str, pattern: str) -> Patch:
    """Before a file is written, when all of it is in the temporary one, or when that has been renamed to it."""

    def before(passing: Passing, put: Callable) -> None:
        real = writers.write_atomically

        def write(path, content):
            if re.fullmatch(pattern, path.name):
                passing()
            real(path, content)

        for module in (writers, checkpoint):
            put(module, "write_atomically", write)

    def renaming(passing: Passing, put: Callable) -> None:
        def watched(real):
            def rename(source, target, **options):
                here = re.fullmatch(pattern, os.path.basename(target))
                if here and when == "within":
                    passing()
                real(source, target, **options)
                if here and when == "after":
                    passing()

            return rename

        for name in ("rename", "replace"):  # Orbax's and pathlib's; write_atomically's
            put(os, name, watched(getattr(os, name)))

    return before if when == "before" else renaming


def _rows(when: str) -> Patch:
    """With the last of some rows torn, with all of them in the file but not yet synced, or when they are written."""

    def patch(passing: Passing, put: Callable) -> None:
        real = writers.RowWriter.write

        def write(self, rows):
            file, self._file = self._file, _Watched(self._file, passing, when)
            try:
                real(self, rows)
            finally:
                self._file = file
            if when == "after":
                passing()

        put(writers.RowWriter, "write", write)

    return patch


class _Watched:
    """A file whose writing passes a point."""

    def __init__(self, file, passing: Passing, when: str):
        self._file, self._passing, self._when = file, passing, when

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def write(self, content: bytes) -> None:
        torn = len(content) - len(content.splitlines()[-1]) // 2
        if self._when == "half" and self._passing.reached():
            self._file.write(content[:torn])
            self._file.flush()
            os.fsync(self._file.fileno())
            self._passing.act()
            content = content[torn:]
        self._file.write(content)

    def flush(self) -> None:
        self._file.flush()
        if self._when == "unsynced":
            self._passing()


def _prune(passing: Passing, put: Callable) -> None:
    """With one file of an old checkpoint deleted, and the others not."""
    real = deleter.PathDeleter.delete

    def delete(self, path, **options):
        if passing.reached():
            next(p for p in sorted(Path(path).rglob("*")) if p.is_file()).unlink()
            passing.act()
        real(self, path, **options)

    put(deleter.PathDeleter, "delete", delete)


# What the study of config.py writes, in the order in which it does; those of its last part with `page` alone.
FILES = {
    "config.json": r"config\.json",
    "environment.json": r"environment\.json",
    "study.json": r"study\.json",
    "dataset.json": r"dataset\.json",
    "group.json": r"group\.json",
    "timing": r"[0-9a-f]{12}\.json",
    "manifest": r"\d+\.manifest\.json",
    "done.json": r"done\.json",
    "predictions.npz": r"predictions\.npz",
    "test.json": r"test\.json",
    "outcomes.json": r"outcomes\.json",
    "failures.json": r"failures\.json",
    "summary.json": r"summary\.json",
    "metrics.parquet": r"metrics\.parquet",
    "metrics.csv": r"metrics\.csv",
    "results.parquet": r"results\.parquet",
    "results.csv": r"results\.csv",
    "TensorBoard": r".*-seed\d+-fold\d+",
    "tables.json": r"tables\.json",
    "figure": r".*\.png",
    "figure's data": r"(curves|dots|histogram|confusion).*\.csv",
    "report.html": r"report\.html",
}
POINTS: dict[str, Patch] = {
    "half a row": _rows("half"),
    "rows not synced": _rows("unsynced"),
    "rows written": _rows("after"),
    "compile": _call(population.Population, "_compile", "within"),
    "within program": _file("within", r".+-cache"),  # of those that JAX keeps
    "step": _call(population.Population, "segment", "before"),
    "evaluation": _call(population.Population, "evaluate", "before"),
    "save": _call(checkpoint.Checkpoints, "save", "after"),
    "within checkpoint": _file("within", r"\d+"),  # Orbax's rename; `after` it there is no manifest yet
    "after checkpoint": _file("after", r"\d+"),
    "prune": _prune,
    "within rows": _file("within", r"metrics\.jsonl"),  # when a session that goes on cuts them
    "within setting aside": _file("within", r"unconfirmed"),  # when it finds a checkpoint without a manifest
    "after setting aside": _file("after", r"unconfirmed"),
    **{f"{when} {name}": _file(when, p) for name, p in FILES.items() for when in ("before", "within", "after")},
}
del POINTS["before TensorBoard"]  # a directory, which is renamed
