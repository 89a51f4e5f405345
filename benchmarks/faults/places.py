"""Locales, time zones, clocks, names of workdirs and classes, devices: the same bits, and a page that escapes names."""

import contextlib
import functools
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.faults import browsed, originals, row, subject, surroundings
from benchmarks.faults.row import Row, Trial

SHORTER = "--config.train.duration=8 epochs"
TEN_YEARS = 10 * 365 * 24 * 3600
_TURN = threading.Lock()  # Orbax reads for one thread at a time


def measure(full: bool, scratch: Path) -> list[Row]:
    """A row of surroundings, one of names, one of devices."""
    places = Places(scratch, full)
    environments = surroundings.ENVIRONMENTS if full else surroundings.SHORT_ENVIRONMENTS
    where = [functools.partial(places.in_environment, name) for name in environments]
    elsewhere = surroundings.PLACES if full else surroundings.SHORT_PLACES
    where += [functools.partial(places.elsewhere, name) for name in elsewhere]
    names = surroundings.NAMES if full else surroundings.SHORT_NAMES
    called = [functools.partial(places.called, name) for name in names]
    promise = "the same bits as in a plain place"
    return [
        row.of(
            "locale, time zone, clock, hash seed, directory, umask",
            promise,
            [*where, *([places.set_back] if full else [])],
            at_once=2,
        ),
        row.of(
            "odd names of workdirs and classes",
            f"{promise}; the page escapes them",
            [*called, *([places.classes] if full else [])],
            at_once=2,
        ),
        row.of("one device in place of two", promise, [places.one_device]),
    ]


class Places:
    """Sessions of one study in many places, held against that in a plain one."""

    def __init__(self, scratch: Path, full: bool):
        self.scratch, self.part = scratch, "page" if full else "mapped"
        self.session(scratch / "plain", self.part)
        self.wanted = self.outcome(scratch / "plain")

    def session(
        self,
        workdir: str | Path,
        part: str = "mapped",
        *flags: str,
        cwd: Path = subject.ROOT,
        env: Mapping[str, str] | None = None,
        umask: int = -1,
    ) -> None:
        """One session to its end.

        Raises:
          RuntimeError: it failed.
        """
        environ = {**os.environ, "PYTHONPATH": str(subject.ROOT), **(env or {})}
        command = subject.command(workdir, part, SHORTER, *flags)
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "timeout": subject.SECONDS}
        done = subprocess.run(command, cwd=cwd, env=environ, umask=umask, **given)
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stdout.decode(errors='replace')[-400:]}")

    def outcome(self, workdir: Path) -> dict[str, bytes]:
        """What it came to, by a link of a plain name."""
        with _TURN, tempfile.TemporaryDirectory(dir=self.scratch) as place:
            (Path(place) / "link").symlink_to(workdir)
            return subject.outcome(Path(place) / "link")

    def judged(self, name: str, workdir: Path) -> Trial:
        """Whether that is what the plain one came to."""
        return Trial(name, subject.differing(self.outcome(workdir), self.wanted))

    def in_environment(self, name: str) -> Trial:
        """With other variables, or another clock."""
        workdir = self.scratch / f"environment {list(surroundings.ENVIRONMENTS).index(name)}"
        self.session(workdir, env=self.environment(name))
        return self.judged(name, workdir)

    def environment(self, name: str) -> dict[str, str]:
        """Variables; where they have a clock, with the code that sets it."""
        found = dict(surroundings.ENVIRONMENTS[name])
        if "CLOCK" in found:
            directory = self.scratch / "clock"
            directory.mkdir(exist_ok=True)
            (directory / "sitecustomize.py").write_text(surroundings.CLOCK)
            found["PYTHONPATH"] = f"{directory}{os.pathsep}{subject.ROOT}"
        return found

    def elsewhere(self, name: str) -> Trial:
        """In another place, or called by another way to it."""
        where = surroundings.PLACES[name]
        base = self.scratch / f"place {list(surroundings.PLACES).index(name)}"
        (base / "x").mkdir(parents=True)
        if where.link:
            (base / where.there).mkdir()
            (base / where.link).symlink_to(where.there)
        cwd = base / where.cwd if where.cwd else subject.ROOT
        self.session(where.told.format(base=base), cwd=cwd, umask=where.umask)
        return self.judged(name, base / where.there)

    def set_back(self) -> Trial:
        """Killed after its first checkpoint, whose files are then of ten years later, and resumed in 1970."""
        workdir = self.scratch / "set back"
        command = subject.command(workdir, "mapped", SHORTER)
        process = subprocess.Popen(command, cwd=subject.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(workdir.glob("groups/0/checkpoints/*.manifest.json")):
            time.sleep(0.01)
        process.kill()
        process.wait()
        later = time.time() + TEN_YEARS
        for path in workdir.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (later, later))
        self.session(workdir, env=self.environment("a clock in 1970"))
        return self.judged("killed, the clock set back, resumed", workdir)

    def called(self, name: str) -> Trial:
        """A workdir of an odd name, which is the study's too."""
        called = os.fsdecode(surroundings.NAMES[name])
        workdir = self.scratch / "called" / called
        workdir.parent.mkdir(exist_ok=True)
        told = called if name in surroundings.TOLD_ALONE else workdir
        self.session(told, self.part, cwd=workdir.parent)
        found = self.judged(name, workdir)
        if found.problem or self.part != "page":
            return found
        shown = called.encode(errors="backslashreplace").decode()
        return Trial(name, browsed.problem(_page(workdir), _page(self.scratch / "plain"), shown))

    def classes(self) -> Trial:
        """The same images in folders of other names, in the same order."""
        found = []
        for i, classes in enumerate((("plain", "simple"), surroundings.CLASSES)):
            root, workdir = self.scratch / f"images {i}", self.scratch / f"classes {i}"
            originals.image_folder(root, classes, each=20)
            keys = {"dataset.name": "folder", "dataset.data_dir": root, "evaluation.top_k": 2}
            self.session(workdir, "page", *(f"--config.{key}={value}" for key, value in keys.items()))
            found.append((self.outcome(workdir), _page(workdir)))
        (plain, page), (odd, odd_page) = found
        kept = json.loads((self.scratch / "classes 1" / "dataset.json").read_text())["class_names"]
        lost = "" if kept == list(surroundings.CLASSES) else f"the classes are called {kept}"
        problem = subject.differing(odd, plain) or lost or browsed.problem(odd_page, page, "classes 1")
        return Trial("names of classes", problem)

    def one_device(self) -> Trial:
        """On one virtual device."""
        workdir = self.scratch / "one device"
        self.session(workdir, "mapped", "--config.population.devices=1")
        return self.judged("one device", workdir)


def _page(workdir: Path) -> str:
    return (workdir / "report.html").read_text()
