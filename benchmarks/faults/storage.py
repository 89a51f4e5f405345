"""Storage that fails: a disk that fills, files that may not grow, a disk that may only be read.

Disks are made by `mount`, which takes root: where that is refused, the trial says so and counts as broken.
"""

import contextlib
import hashlib
import json
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.faults import row
from benchmarks.faults.row import Row
from benchmarks.faults.sessions import Ended, Session, Whole, kind, resumed, saved, trial, whole
from fmnist_jax import places

QUICK = ("--config.train.duration=16 epochs",)
ROOMY = 64 * 1024  # KiB
FULL, TOO_LARGE, READ_ONLY = "no space left on device", "file too large", "read-only file system"
# Where the disk is full from: point, which time, part of config.py. `+`: there is a checkpoint by then.
FULL_AT = (
    *(("rows written", 2, "mapped"), ("save", 3, "vmapped"), ("before manifest", 3, "mapped")),
    *(("before done.json", 1, "mapped"), ("before test.json", 1, "mapped"), ("before results.csv", 1, "mapped")),
    ("before report.html", 1, "page"),
    # --full from here on
    *(("before config.json", 1, "mapped"), ("before group.json", 1, "mapped"), ("step", 1, "mapped")),
    *(("step", 5, "vmapped"), ("evaluation", 4, "mapped"), ("within checkpoint", 3, "vmapped")),
    *(("after checkpoint", 2, "mapped"), ("prune", 2, "vmapped"), ("before predictions.npz", 1, "mapped")),
    *(
        ("before outcomes.json", 1, "mapped"),
        ("before summary.json", 1, "mapped"),
        ("before metrics.parquet", 1, "page"),
    ),
    *(("before figure", 3, "page"), ("after tables.json", 1, "page"), ("within TensorBoard", 1, "page")),
)
SHORT = 7
SIZES = (0.02, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97)  # of what the study takes
LIMITS = {"mapped": (2_000, 6_000, 30_000), "page": (100_000, 1_000_000)}  # bytes of a file
READ_ONLY_AT = ("rows written", "before done.json", "before results.csv", "step", "save", "before manifest")


def measure(full: bool, scratch: Path) -> list[Row]:
    """A row a kind of storage."""
    promise = "one line, a status that is not 0, the checkpoint before is whole, nothing says that it is done which is "
    promise += "not; with room the same command goes on to the same bits"
    filled = [_full_at(*one, scratch) for one in (FULL_AT if full else FULL_AT[:SHORT])]
    filled += [_too_small(share, part, scratch) for share, part in _sizes(full)]
    limits = [(part, limit) for part, limits in LIMITS.items() for limit in limits]
    limited = [_limited(part, limit, scratch) for part, limit in (limits if full else limits[1:4:2])]
    read_only = [
        trial("a disk that may only be read, from the start", lambda own: never_written(own, scratch, ()), scratch),
        trial(
            "a disk that may only be read, after a kill",
            lambda own: never_written(own, scratch, (("save", 3, "kill"),)),
            scratch,
        ),
    ]
    read_only += [_read_only_at(point, scratch) for point in READ_ONLY_AT[: None if full else 2]]
    return [
        row.of("disk full", promise, filled, kind, at_once=2),
        row.of("file-size limit", promise, limited, kind, at_once=2),
        row.of("read-only disk", promise, read_only, kind, at_once=2),
    ]


def _sizes(full: bool) -> list[tuple[float, str]]:
    return [(share, part) for share in SIZES for part in ("mapped", "page")] if full else [(0.2, "mapped")]


def _full_at(point: str, nth: int, part: str, scratch: Path):
    def work(own: Path) -> str:
        with disk(own, ROOMY) as place:
            return spoiled(place, scratch, (point, nth), part, FULL, lambda: fill(place), lambda: empty(place))

    return trial(f"full {point}, {part}", work, scratch)


def _too_small(share: float, part: str, scratch: Path):
    def work(own: Path) -> str:
        wanted = whole(scratch, part, *QUICK)
        with disk(own, int(share * wanted.kilobytes)) as place:
            ended = Session(place / "w", part, *QUICK).end()
            remount(place, f"size={ROOMY}k")
            return failed_well(ended, FULL, place / "w", wanted) or resumed(place / "w", wanted, part, *QUICK)

    return trial(f"too small, {part}, {share:.0%} of what it takes", work, scratch)


def _limited(part: str, limit: int, scratch: Path):
    def work(own: Path) -> str:
        wanted = whole(scratch, part, *QUICK)
        ended = Session(own / "w", part, *QUICK, limits={resource.RLIMIT_FSIZE: limit}).end()
        return failed_well(ended, TOO_LARGE, own / "w", wanted) or resumed(own / "w", wanted, part, *QUICK)

    return trial(f"files of {limit // 1000} kB at most, {part}", work, scratch)


def _read_only_at(point: str, scratch: Path):
    nth = 2 if point in ("rows written", "step", "save") else 1

    def work(own: Path) -> str:
        bind, unbind = (lambda: read_only(own / "w")), (lambda: subprocess.run(["umount", str(own / "w")], check=False))
        return spoiled(own, scratch, (point, nth), "mapped", READ_ONLY, bind, unbind)

    return trial(f"may only be read {point}", work, scratch)


def spoiled(
    place: Path,
    scratch: Path,
    at: tuple[str, int],
    part: str,
    words: str,
    spoil: Callable[[], None],
    mend: Callable[[], None],
) -> str:
    """The problem of a study whose storage is spoiled at a point, and mended after the end that this must bring."""
    wanted = whole(scratch, part, *QUICK)
    session = Session(place / "w", part, *QUICK, at=(*at, "stop"))
    if not session.wait_stopped():
        return f"{at[0]} was not reached: {session.end().words}"
    before = saved(place / "w")
    try:
        try:
            spoil()
        finally:
            session.send(signal.SIGCONT)
            ended = session.end()
        problem = failed_well(ended, words, place / "w", wanted) or gone(before, saved(place / "w"))
    finally:
        mend()
    return problem or resumed(place / "w", wanted, part, *QUICK)


def never_written(own: Path, scratch: Path, before: tuple[tuple[str, int, str], ...]) -> str:
    """The problem of a study on a disk that may only be read, from the start or when it is to go on."""
    wanted = whole(scratch, "mapped", *QUICK)
    with disk(own, ROOMY) as place:
        for at in before:
            Session(place / "w", "mapped", *QUICK, at=at).end()
        remount(place, "ro")
        ended = Session(place / "w", "mapped", *QUICK).end()
        problem = failed_well(ended, READ_ONLY, place / "w", wanted, status=2)
        remount(place, "rw")
        return problem or resumed(place / "w", wanted, "mapped", *QUICK)


def failed_well(ended: Ended, words: str, workdir: Path, wanted: Whole, status: int = 1) -> str:
    """The problem with how a session failed, or with what it left."""
    lines = ended.error.strip().splitlines()
    if ended.status != status or len(lines) != 1 or words not in lines[0].lower() or not lines[0].startswith("error: "):
        return ended.words
    for path in [*workdir.glob("groups/*/done.json"), *workdir.glob("groups/*/test.json")]:
        name = f"{path.parent.name}/{path.name}"
        if json.loads(path.read_text())["results"] != json.loads(wanted.outcome[name])["results"]:
            return f"{name} is false"
    for place in places.there(workdir):
        if place.step and (problem := damaged(place.directory / "checkpoints", place.step)):
            return problem
    return ""


def gone(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """What was saved before the fault and is there no more."""
    lost = [f"group {name}: checkpoint {step} is gone" for name, step in before.items() if after.get(name, 0) < step]
    return lost[0] if lost else ""


def damaged(checkpoints: Path, step: int) -> str:
    """What of a checkpoint is not as its manifest has it."""
    for name, digest in json.loads((checkpoints / f"{step}.manifest.json").read_text()).items():
        path = checkpoints / str(step) / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return f"{name} of checkpoint {step} is not whole"
    return ""


class NotMadeError(Exception):
    """The fault could not be made here."""


def _command(*words) -> None:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode:
        raise NotMadeError(f"not made: {done.stderr.strip()}")


@contextlib.contextmanager
def disk(own: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of that size, in memory.

    Raises:
      NotMadeError: this process may not mount one.
    """
    place = own / "disk"
    place.mkdir()
    _command("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def remount(place: Path, option: str) -> None:
    """The same disk of another size, or with other rights."""
    _command("mount", "-o", f"remount,{option}", place)


def read_only(workdir: Path) -> None:
    """From now on nothing in it can be opened for writing; what is open stays so."""
    _command("mount", "--bind", workdir, workdir)
    _command("mount", "-o", "remount,bind,ro", workdir)


def fill(place: Path) -> None:
    """Takes all the room that is left."""
    with contextlib.suppress(OSError), open(place / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def empty(place: Path) -> None:
    """Makes room again."""
    (place / "filler").unlink(missing_ok=True)
