"""Sessions of the subject that something is done to, and whether the next one makes good of it.

A session is a process of its own. Typed, it is the command as a user types it; else it is forked off a process that has
imported everything, which saves the seconds that this takes. From there on the two are the same.
"""

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.faults import forks, subject
from benchmarks.faults.forks import Fork
from benchmarks.faults.row import Trial


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a session ended.

    Attributes:
      status: its exit status; of one that a signal killed, minus its number.
      seconds: since it was signalled, or passed its point, or began.
      reached: whether it passed its point.
    """

    status: int
    seconds: float
    reached: bool
    shown: str
    error: str

    @property
    def words(self) -> str:
        """Of a problem: its status, and the end of what it said."""
        return f"exit status {self.status}: {' '.join((self.error or self.shown).split())[-300:]}"


class Session:
    """A session under way.

    Args:
      at: (point, nth, action) of benchmarks.faults.at.
      limits: resource.RLIMIT_* -> what is allowed.
      env: what its environment has besides this one's.
      typed: as a user types it.
    """

    def __init__(
        self,
        workdir: Path,
        part: str = "mapped",
        *flags: str,
        at: tuple[str, int, str] | None = None,
        limits: Mapping[int, int] | None = None,
        env: Mapping[str, str] | None = None,
        typed: bool = False,
    ):
        self._place = tempfile.TemporaryDirectory()
        self._path = Path(self._place.name)
        self._mark = self._path / "mark"
        env = {**os.environ, **(env or {}), "FAULTS_MARK": str(self._mark)}
        command = subject.command(workdir, part, *flags)
        self._since = time.time()
        given = (command[3:], at, dict(limits or {}), env, str(self._path))
        if typed:
            if at:
                words = ["-m", "benchmarks.faults.at", *map(str, at), "--"]
                command = [command[0], *words, *command[3:]]
            self._process = _Typed(command, *given[2:])
        else:
            self._process = Fork(_forked, *given)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.exitcode is None

    def send(self, signum: int) -> None:
        """A signal from outside."""
        self._since = time.time()
        if self.alive():
            os.kill(self.pid, signum)

    def wait_until(self, there: Callable[[], bool]) -> bool:
        """Waits until `there()`; whether it came to that before the session ended."""
        deadline = time.monotonic() + subject.SECONDS
        while not there():
            if not self.alive() or time.monotonic() > deadline:
                return False
            time.sleep(forks.POLL)
        return True

    def wait_stopped(self) -> bool:
        """Waits until it has stopped itself; whether it did."""
        return self.wait_until(lambda: self._mark.exists() and _state(self.pid) == "T")

    def end(self) -> Ended:
        """Waits for its end.

        Raises:
          RuntimeError: it hangs, and was killed.
        """
        self._process.join(subject.SECONDS)
        now, hangs = time.time(), self.alive()
        if hangs:
            os.kill(self.pid, signal.SIGKILL)
            self._process.join(subject.SECONDS)
        if reached := self._mark.exists():
            self._since = self._mark.stat().st_mtime
        shown, error = ((self._path / name).read_text(errors="replace") for name in ("out", "err"))
        ended = Ended(self._process.exitcode, now - self._since, reached, shown, error)
        self._place.cleanup()
        if hangs:
            raise RuntimeError(f"hangs: {ended.words}")
        return ended


class _Typed(subprocess.Popen):
    """A command with the manners of a Fork."""

    def __init__(self, command: list[str], limits: dict[int, int], env: dict[str, str], place: str):
        out, err = (open(f"{place}/{name}", "wb") for name in ("out", "err"))  # noqa: SIM115 -- closed below
        with out, err:
            super().__init__(command, cwd=subject.ROOT, env=env, stdout=out, stderr=err)
        for limit, allowed in limits.items():
            resource.prlimit(self.pid, limit, (allowed, allowed))

    def join(self, seconds: float) -> None:
        """Waits for its end, but no longer than that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(seconds)

    @property
    def exitcode(self) -> int | None:
        """None before its end."""
        return self.poll()


def _forked(flags: list[str], at: tuple | None, limits: dict[int, int], env: dict[str, str], place: str) -> None:
    """The child: as if it had just been started."""
    from benchmarks.faults import at as points

    for descriptor, name in ((1, "out"), (2, "err")):
        handle = os.open(f"{place}/{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, descriptor)
        os.close(handle)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(subject.ROOT)
    for limit, allowed in limits.items():
        resource.setrlimit(limit, (allowed, allowed))
    points.session(flags, *(at or ()))


def _state(pid: int) -> str:
    """R, S, D, T, Z as /proc says; "" of no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@dataclasses.dataclass(frozen=True)
class Whole:
    """What a study that nobody disturbs comes to.

    Attributes:
      seconds: without those of compiling, which later ones lack.
      kilobytes: of its files at the end, on a disk with pages of 4 KiB.
      images: group -> how many it was trained on.
      segments: of a run.
    """

    outcome: Mapping[str, bytes]
    seconds: float
    kilobytes: int
    images: Mapping[str, int]
    segments: int


_WHOLE: dict[tuple, Whole] = {}
_MAKING = threading.Lock()


def whole(scratch: Path, part: str = "mapped", *flags: str) -> Whole:
    """Of the study that nobody disturbs, made once."""
    with _MAKING:
        if (part, *flags) not in _WHOLE:
            workdir = Path(tempfile.mkdtemp(dir=scratch)) / "w"
            start = time.monotonic()
            ended = Session(workdir, part, *flags).end()
            seconds = time.monotonic() - start
            if ended.status:
                raise RuntimeError(f"undisturbed: {ended.words}")
            timings = {path.parent.parent.name: json.loads(path.read_text()) for path in _timings(workdir)}
            _WHOLE[part, *flags] = Whole(
                everything(workdir),
                seconds - sum(timing["compile_seconds"] for timing in timings.values()),
                4 * sum(-(-path.stat().st_size // 4096) for path in workdir.rglob("*") if path.is_file()),
                {group: timing["images"] for group, timing in timings.items()},
                len({one["step"] for one in subject.rows_of(workdir)}),
            )
        return _WHOLE[part, *flags]


def _timings(workdir: Path) -> list[Path]:
    return list(workdir.glob("groups/*/sessions/*.json"))


def everything(workdir: Path) -> dict[str, bytes]:
    """`subject.outcome`, and what was made of it: by content where two sessions may not differ, else by name."""
    found = subject.outcome(workdir)
    alike = ("metrics.csv", "metrics.parquet", "dataset.json", "outcomes.json")
    for pattern in ("*.*", "figures/*", "tensorboard/*"):
        for path in workdir.glob(pattern):
            if not path.name.startswith("."):
                found[str(path.relative_to(workdir))] = path.read_bytes() if path.name in alike else b""
    return found


def resumed(workdir: Path, wanted: Whole, part: str = "mapped", *flags: str, **how) -> str:
    """What is wrong with what the same command now comes to; "" where it is all that of an undisturbed one."""
    begun, trained = saved(workdir), set(_timings(workdir))
    ended = Session(workdir, part, *flags, **how).end()
    if ended.status or "Traceback" in ended.error or "Warning" in ended.error:
        return f"the next session: {ended.words}"
    rows = Counter((row["arm"], row["seed"], row["fold"], row["step"]) for row in subject.rows_of(workdir))
    if twice := [row for row, times in rows.items() if times > 1]:
        return f"{len(twice)} rows are there twice, such as {twice[0]}"
    return again(workdir, wanted, begun, trained) or subject.differing(everything(workdir), wanted.outcome)


def saved(workdir: Path) -> dict[str, int]:
    """Group -> the step of its newest checkpoint that has a manifest; 0 of none."""
    found = {group.name: 0 for group in workdir.glob("groups/*")}
    for path in workdir.glob("groups/*/checkpoints/*.manifest.json"):
        name = path.parent.parent.name
        found[name] = max(found[name], int(path.name.partition(".")[0]))
    return found


def again(workdir: Path, wanted: Whole, begun: dict[str, int], before: set[Path]) -> str:
    """What a session has trained again that had been saved; it would come to the same bits if it trained all of it."""
    for path in set(_timings(workdir)) - before:
        group = path.parent.parent
        last = json.loads((group / "done.json").read_text())["step"]
        left = round(wanted.images[group.name] * (1 - begun.get(group.name, 0) / last))
        if (images := json.loads(path.read_text())["images"]) > left:
            return f"group {group.name}: {images:,} images trained, where {left:,} were left"
    return ""


def trial(name: str, work: Callable[[Path], str], scratch: Path) -> Callable[[], Trial]:
    """A trial whose `work`, given a directory of its own, returns its problem; so is what it raises."""

    def make() -> Trial:
        with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as own:
            try:
                return Trial(name, work(Path(own)))
            except Exception as error:
                return Trial(name, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    return make


def kind(made: Trial) -> str:
    """What of a trial's name comes before its first comma."""
    return made.name.partition(",")[0]
