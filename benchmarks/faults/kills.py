"""SIGKILL: the same command goes on, to the bits of a study that nobody killed, whatever it was killed in."""

import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults import row
from benchmarks.faults.points import POINTS
from benchmarks.faults.row import Row
from benchmarks.faults.sessions import Session, kind, resumed, trial, whole

QUICK = ("--config.train.duration=16 epochs",)  # 8 evaluations; the whole study has 30
KILLS = 100
Kill = tuple[str, int]  # point, nth

# Which time, where the first says less: with checkpoints before it, and with some of them pruned.
NTH = {
    **{"half a row": 3, "rows not synced": 4, "rows written": 2, "step": 9, "evaluation": 3, "save": 3, "prune": 2},
    **{"within checkpoint": 3, "after checkpoint": 4, "before manifest": 2, "within manifest": 3, "after manifest": 5},
    **{"before timing": 2, "within timing": 3, "after timing": 1, "within program": 3},
}
# What only a session passes that goes on after a kill: that one first.
AFTER_ANOTHER = {
    "within rows": ("rows written", 3),
    "within setting aside": ("after checkpoint", 3),
    "after setting aside": ("after checkpoint", 3),
}
ON_THE_PAGE = ("TensorBoard", "figure", "figure's data", "report.html")
SHORT = (
    *("half a row", "rows written", "compile", "within program", "step", "evaluation", "save", "within checkpoint"),
    *("after checkpoint", "prune", "within group.json", "within done.json", "after predictions.npz", "within rows"),
    *("within results.parquet", "within report.html"),
)
# Ways to train that have state of their own: images that are read as they are needed, and runs over several devices.
OF_PARTS = {"streamed": ("step", "rows written", "save"), "mesh": ("within checkpoint", "step", "before manifest")}
# Each makes some progress, so that ten of them find something to kill.
TEN = (
    *(("half a row", 2), ("save", 2), ("step", 7), ("within checkpoint", 2), ("before manifest", 2), ("prune", 2)),
    *(("evaluation", 2), ("after checkpoint", 2), ("within manifest", 2), ("rows written", 2)),
)


def measure(full: bool, scratch: Path) -> list[Row]:
    """Of kills once a study, and of ten in one."""
    points = list(POINTS) if full else list(SHORT)
    once = [_at(point, scratch) for point in points]
    once += [_at(point, scratch, part) for part, of in OF_PARTS.items() for point in of[: None if full else 1]]
    once += [_at_random(i, scratch, () if full else QUICK) for i in range((KILLS if full else 20) - len(once))]
    ten = [_ten(i, scratch) for i in range(10 if full else 1)]
    promise = "the next session has the bits of an undisturbed one; no row is lost or there twice"
    return [
        row.of("SIGKILL at named points and at random moments", promise, once, kind, at_once=2),
        row.of("ten SIGKILLs in one study", promise, ten, kind, at_once=2),
    ]


def _at(point: str, scratch: Path, part: str = ""):
    name = f"{point}, {part}" if part else point
    part = part or ("page" if point.partition(" ")[2] in ON_THE_PAGE else "mapped")
    kills = [(point, NTH.get(point, 1))]
    if point in AFTER_ANOTHER:
        kills.insert(0, AFTER_ANOTHER[point])
    return trial(name, lambda own: killed(own, scratch, kills, part, *QUICK), scratch)


def _at_random(i: int, scratch: Path, flags: Sequence[str]):
    part = ("mapped", "vmapped")[i % 2]
    return trial(f"at random, {part} {i}", lambda own: killed_at_random(own, scratch, part, i, *flags), scratch)


def _ten(i: int, scratch: Path):
    part = ("mapped", "vmapped")[i % 2]
    kills = random.Random(i).sample(TEN, len(TEN))
    return trial(f"{part}, {i}", lambda own: killed(own, scratch, kills, part), scratch)


def killed(own: Path, scratch: Path, kills: Sequence[Kill], part: str, *flags: str) -> str:
    """The problem of a study that was killed at these points, one session after the other, and then went on."""
    workdir, wanted = own / "w", whole(scratch, part, *flags)
    compiling = any(point in ("compile", "within program") for point, _ in kills)
    env = {"XDG_CACHE_HOME": str(own / "cache")} if compiling else {}  # with the cache full nothing is compiled
    for point, nth in kills:
        ended = Session(workdir, part, *flags, at=(point, nth, "kill"), env=env).end()
        if not ended.reached or ended.status != -signal.SIGKILL:
            return f"not killed at {point}: {ended.words}"
    return resumed(workdir, wanted, part, *flags, env=env)


def killed_at_random(own: Path, scratch: Path, part: str, seed: int, *flags: str) -> str:
    """The problem of a study that was killed at some moment."""
    workdir, wanted, moments = own / "w", whole(scratch, part, *flags), random.Random(seed)
    for _ in range(10):
        session = Session(workdir, part, *flags)
        time.sleep(moments.uniform(0.05, 1) * wanted.seconds)
        session.send(signal.SIGKILL)
        if session.end().status == -signal.SIGKILL:
            return resumed(workdir, wanted, part, *flags)
        shutil.rmtree(workdir)  # this time it was quicker than the kill
    return "it was always quicker than the kill"
