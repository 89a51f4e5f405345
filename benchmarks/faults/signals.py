"""SIGTERM and SIGINT, once and twice: saved, said, ended in time, and gone on from there to the same bits."""

import random
import re
import signal
import time
from pathlib import Path

from benchmarks.faults import row, subject
from benchmarks.faults.row import Row
from benchmarks.faults.sessions import Ended, Session, kind, resumed, trial, whole
from fmnist_jax import places

SECONDS = 25  # of 30 that a cluster gives, often
SAVED = r"stopped(?: at step ([\d,]+))?, all saved; the same command goes on from there"
AT_ONCE = r"stopped at once; the same command goes on from the newest checkpoint"
IN_VAIN = r"stopped: nothing could be saved for 20 s; the same command goes on from the newest checkpoint"
QUICK = ("--config.train.duration=16 epochs",)
SIGNALS = {"term": signal.SIGTERM, "int": signal.SIGINT}
# Trial after trial: place, and which time. The last of them come from outside, whenever that is.
PLACES = (
    *(("compile", 3), ("step", 9), ("evaluation", 3), ("save", 3)),
    *(("compile", 1), ("step", 1), ("evaluation", 1), ("within checkpoint", 2)),
    *(("compile", 4), ("step", 20), ("evaluation", 5), ("after checkpoint", 4)),
    *(("compile", 5), ("half a row", 2), ("rows written", 3), ("before manifest", 3)),
)
OUTSIDE = 4
SHORT = {
    "SIGTERM": PLACES[:4],
    "SIGTERM twice": (("step", 9), ("save", 3)),
    "SIGINT": PLACES[1:4],
    "SIGINT twice": (("evaluation", 3), ("within checkpoint", 2)),
}


class Figures:
    """What a row of the table is asked for beside its trials."""

    def __init__(self):
        self.seconds, self.lost = [], []

    def facts(self) -> dict:
        """Of all trials."""
        longest, lost = max(self.seconds, default=0), max(self.lost, default=0)
        return {"longest seconds to exit": round(longest, 1), "most segments lost": lost}


def measure(full: bool, scratch: Path) -> list[Row]:
    """A row a signal, once and twice, and one of compiled code that never returns."""
    rows = []
    for action, signum in SIGNALS.items():
        for times, promise in (
            (1, "saves, says so, exits in time with its status, and goes on to the same bits"),
            (2, "ends at once, loses a segment at most, and goes on to the same bits"),
        ):
            figures, name = Figures(), f"{signum.name}{' twice' * (times - 1)}"
            how = "-".join([action] * times)
            places_ = enumerate(PLACES if full else SHORT[name])
            trials = [_at(*place, ("mapped", "vmapped")[i % 2], how, signum, figures, scratch) for i, place in places_]
            outside = range(OUTSIDE if full else times == 1)
            trials += [_outside(i, times, signum, figures, scratch) for i in outside]
            rows.append(row.of(name, promise, trials, kind, figures.facts, at_once=2))
    figures = Figures()
    deaf = [trial("in the first step", lambda own: deafened(own, scratch, figures), scratch)]
    promise = "ends in time with its status, and goes on to the same bits"
    rows.append(row.of("SIGTERM in compiled code that never returns", promise, deaf, kind, figures.facts))
    return rows


def _at(point: str, nth: int, part: str, how: str, signum: int, figures: Figures, scratch: Path):
    work = lambda own: stopped_at(own, scratch, point, nth, part, how, signum, figures)  # noqa: E731
    return trial(f"{point}, the {nth}th time, {part}", work, scratch)


def _outside(i: int, times: int, signum: int, figures: Figures, scratch: Path):
    work = lambda own: stopped_from_outside(own, scratch, i, times, signum, figures)  # noqa: E731
    return trial(f"from outside, {i}", work, scratch)


def stopped_at(
    own: Path, scratch: Path, point: str, nth: int, part: str, how: str, signum: int, figures: Figures
) -> str:
    """The problem of a study that gets a signal at a point."""
    env = {"XDG_CACHE_HOME": str(own / "cache")} if point == "compile" else {}
    session = Session(own / "w", part, *QUICK, at=(point, nth, how), env=env)
    ended = session.end()
    if not ended.reached:
        return f"{point} was not reached: {ended.words}"
    if "-" not in how and "stopped at step" not in ended.error:  # all of these are within training
        return f"it did not say at which step: {ended.words}"
    return judged(ended, own / "w", scratch, signum, how.count("-") + 1, figures, part)


def stopped_from_outside(own: Path, scratch: Path, seed: int, times: int, signum: int, figures: Figures) -> str:
    """The problem of a study, as a user types it, that gets a signal at some moment of its training."""
    moments, rows = random.Random(seed), own / "w/groups/0/metrics.jsonl"
    session = Session(own / "w", "mapped", *QUICK, typed=True)
    if not session.wait_until(lambda: rows.exists() and rows.stat().st_size > 0):
        return f"it never trained: {session.end().words}"
    time.sleep(moments.uniform(0, 0.3))
    session.send(signum)
    if times == 2:
        time.sleep(moments.uniform(0, 0.1))
        session.send(signum)
    return judged(session.end(), own / "w", scratch, signum, times, figures)


def judged(
    ended: Ended, workdir: Path, scratch: Path, signum: int, times: int, figures: Figures, part: str = "mapped"
) -> str:
    """The problem with how it ended, with what it left, or with what comes of that."""
    said = [line for line in ended.error.splitlines() if line]
    figures.seconds.append(ended.seconds)
    figures.lost.append(lost(workdir))
    if ended.status != 128 + signum or len(said) != 1:
        return ended.words
    if not (saved := re.fullmatch(SAVED, said[0])) and not (times == 2 and re.fullmatch(AT_ONCE, said[0])):
        return f"said {said[0]!r}"
    if ended.seconds > SECONDS:
        return f"took {ended.seconds:.0f} s"
    if figures.lost[-1] > (0 if saved else 1):
        return f"{figures.lost[-1]} segments are lost"
    if saved and saved[1] and newest(workdir) != int(saved[1].replace(",", "")):
        return f"{said[0]!r}, but the newest checkpoint is of step {newest(workdir)}"
    return resumed(workdir, whole(scratch, part, *QUICK), part, *QUICK)


def deafened(own: Path, scratch: Path, figures: Figures) -> str:
    """The problem of a study that gets SIGTERM in compiled code that never returns."""
    ended = Session(own / "w", "mapped", *QUICK, at=("step", 9, "deaf")).end()
    figures.seconds.append(ended.seconds)
    figures.lost.append(lost(own / "w"))
    if not ended.reached or ended.status != 128 + signal.SIGTERM or not re.fullmatch(IN_VAIN, ended.error.strip()):
        return ended.words
    if ended.seconds > SECONDS:
        return f"took {ended.seconds:.0f} s"
    return resumed(own / "w", whole(scratch, "mapped", *QUICK), "mapped", *QUICK)


def newest(workdir: Path) -> int:
    """The step of the newest checkpoint that has its manifest; 0 where there is none."""
    return max((place.step for place in places.there(workdir)), default=0)


def lost(workdir: Path) -> int:
    """Segments of which there are rows, but that will be trained again."""
    return len({one["step"] for one in subject.rows_of(workdir)} - set(range(newest(workdir) + 1)))
