"""metrics.jsonl cut at every byte, beside a checkpoint of every evaluation; and rows that a checkpoint has, missing."""

import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults import row, subject, within
from benchmarks.faults.row import Row, Trial
from fmnist_jax import writers
from fmnist_jax.errors import RunError

EVERY = 37  # bytes between two cuts, in short, beside those at the ends of lines


def measure(full: bool, scratch: Path) -> list[Row]:
    """A row of the file, and one of the sessions that find rows missing."""
    checked, workdir = within.experiment(), scratch / "study"
    within.run(checked, workdir)
    content = (workdir / "groups/0/metrics.jsonl").read_bytes()
    return [
        row.of(
            "metrics.jsonl cut at every byte" if full else "metrics.jsonl cut",
            "the torn row and rows past the checkpoint dropped, all others kept, whatever the checkpoint",
            cuts(content, scratch / "metrics.jsonl", 1 if full else EVERY),
            kind=lambda trial: trial.name.partition(", ")[2],
            facts=lambda: {"bytes": len(content)},
        ),
        row.of(
            "rows missing that a checkpoint has",
            "refused, naming the file; put back, the study ends with the bits of an undisturbed one",
            missing(checked, workdir, scratch, full),
            kind=lambda trial: trial.name.partition(":")[0],
        ),
    ]


def cuts(content: bytes, path: Path, every: int) -> Iterator[Callable[[], Trial]]:
    """A trial a cut and checkpoint."""
    lines = content.splitlines(keepends=True)
    ends = [sum(map(len, lines[:i])) for i in range(len(lines) + 1)]
    near = {end + more for end in ends for more in (-1, 0, 1)} & set(range(len(content) + 1))
    steps = [json.loads(line)["step"] for line in lines]
    for at in sorted({*range(0, len(content) + 1, every), *near}):
        whole = sum(end <= at for end in ends[1:])  # lines that are
        for last in (-1, 0, *dict.fromkeys(steps)):
            kept = [line for line, step in zip(lines[:whole], steps[:whole], strict=True) if step <= last]
            yield functools.partial(_cut, path, content[:at], lines[:whole], kept, last)


def _cut(path: Path, torn: bytes, whole: list[bytes], kept: list[bytes], last: int) -> Trial:
    name, problem = f"at {len(torn):,}, checkpoint at {last}", ""
    path.write_bytes(torn)
    if last < 0:  # once for a cut: whoever only reads knows of no checkpoint
        read = list(writers.read_rows(path))
        if read != [json.loads(line) for line in whole] or len(writers.read_table(path)) != len(whole):
            problem = "other rows are read than are whole"
    writers.RowWriter(path, last).close()
    if path.read_bytes() != b"".join(kept):
        problem = f"{len(path.read_bytes())} bytes are kept, not {len(b''.join(kept))}"
    return Trial(name, problem)


def missing(checked, whole: Path, scratch: Path, full: bool) -> Iterator[Callable[[], Trial]]:
    """A trial a row that is gone or twice there, and a length in whole rows."""
    lines = (whole / "groups/0/metrics.jsonl").read_bytes().splitlines(keepends=True)
    damages = {f"a row dropped: {i}": lines[:i] + lines[i + 1 :] for i in range(len(lines))}
    damages |= {f"a row twice: {i}": lines[: i + 1] + lines[i:] for i in range(len(lines))}
    damages |= {f"cut after a row: {i}": lines[:i] for i in range(len(lines))}
    damages |= {f"cut within a row: {i}": [*lines[:i], lines[i][:9]] for i in range(len(lines))}
    chosen = list(damages.items())
    wanted = subject.outcome(whole)
    for name, left in chosen if full else chosen[:: len(lines) + 1]:
        yield functools.partial(_refused, name, b"".join(left), checked, whole, scratch)
    yield functools.partial(_put_back, checked, whole, wanted, scratch)


def _unfinished(whole: Path, place: str) -> Path:
    """A copy that has its last checkpoint, and not its end."""
    workdir = Path(shutil.copytree(whole, Path(place) / "study"))
    for name in ("done.json", "test.json", "predictions.npz"):
        (workdir / "groups/0" / name).unlink()
    return workdir


def _refused(name: str, left: bytes, checked, whole: Path, scratch: Path) -> Trial:
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        workdir = _unfinished(whole, place)
        path = workdir / "groups/0/metrics.jsonl"
        path.write_bytes(left)
        return Trial(name, refusal(checked, workdir, path))


def refusal(checked, workdir: Path, path: Path, **options) -> str:
    """What is wrong with how a session refuses its rows; "" where nothing is."""
    try:
        within.run(checked, workdir, **options)
    except RunError as error:
        return "" if f"{path}: " in str(error) and "rows of step" in str(error) else f"says {error}"
    return "went on"


def _put_back(checked, whole: Path, wanted: dict[str, bytes], scratch: Path) -> Trial:
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        workdir = _unfinished(whole, place)
        path = workdir / "groups/0/metrics.jsonl"
        content = path.read_bytes()
        path.write_bytes(b"")
        problem = refusal(checked, workdir, path)
        path.write_bytes(content)
        within.run(checked, workdir, retry=True)
        return Trial("put back", problem or subject.differing(subject.outcome(workdir), wanted))
