"""Every file of a real checkpoint damaged, its manifest too: found, set aside, and the one before it used."""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.faults import row, subject, within
from benchmarks.faults.row import Row, Trial
from fmnist_jax import checkpoint

KEPT = 3
PROMISE = "found by its SHA-256, set aside, the one before it used; never a wrong load"
BITS_STEP = 61  # of the manifest's bits, in short; a prime, so that all bits of a byte have their turn
Damage = Callable[[Path], None]


def measure(full: bool, scratch: Path) -> list[Row]:
    """Rows of files, of the manifest's bits, of what is missing, and of the studies that go on."""
    made = of_study(scratch / "study", scratch)
    return [
        row.of("a file of a checkpoint cut, deleted, changed", PROMISE, files(made, full), kind=_kind),
        row.of("every bit of a manifest" if full else "bits of a manifest", PROMISE, manifest_bits(made, full), _kind),
        row.of("manifests and checkpoints missing, cut off, all damaged", PROMISE, missing(made)),
        row.of(
            "a study whose newest checkpoint is damaged",
            "goes on from the one before, to the bits of an undisturbed one",
            studies(scratch, full),
        ),
    ]


def _kind(trial: Trial) -> str:
    return trial.name.partition(":")[0]


def of_study(workdir: Path, scratch: Path) -> "Made":
    """Those of a study that is trained for it."""
    checked = within.experiment(changes={"checkpoint.keep": KEPT})
    within.run(checked, workdir)
    return Made(workdir / "groups" / "0" / "checkpoints", within.template(checked, workdir), scratch)


class Made:
    """KEPT checkpoints in a directory, all of them whole, and what is in each of them.

    Attributes:
      steps: of the checkpoints, the newest first.
      bits: step -> what was saved.
    """

    def __init__(self, kept: Path, template, scratch: Path):
        self.kept, self.template, self.scratch = kept, template, scratch
        self.steps = sorted((int(path.name) for path in self.kept.iterdir() if path.name.isdigit()), reverse=True)
        self.bits = {step: self._bits(step) for step in self.steps}

    def _bits(self, step: int) -> bytes:
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            copy = self.copy(place)
            for other in self.steps:
                if other > step:
                    shutil.rmtree(copy / str(other))
            found, state = checkpoint.Checkpoints(copy, KEPT).restore(self.template)
        if found != step:
            raise RuntimeError(f"checkpoint {step} of an undisturbed study is not whole")
        return within.bits(state)

    def copy(self, place: str | Path) -> Path:
        """Of links, so that it takes no time; who changes a file makes a new one."""
        return Path(shutil.copytree(self.kept, Path(place) / "checkpoints", copy_function=os.link))

    def names(self, step: int) -> list[str]:
        """Of the files of a checkpoint, and its manifest."""
        inside = sorted(str(p.relative_to(self.kept)) for p in (self.kept / str(step)).rglob("*") if p.is_file())
        return [*inside, f"{step}.manifest.json"]

    def trial(self, name: str, damage: Damage, expected: int | None, aside: Sequence[str] = ()) -> Trial:
        """Damages a copy and reads it.

        Args:
          expected: the step that is to come back.
          aside: what is to be in set_aside then, by how its name begins.
        """
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            copy = self.copy(place)
            damage(copy)
            with within.quiet():
                found = checkpoint.Checkpoints(copy, KEPT).restore(self.template)
            kept = [path.name for path in copy.glob("set_aside/*")]
        if found is None or expected is None:
            problem = "" if found is None and expected is None else f"went on from {found and found[0]}, not {expected}"
        elif found[0] != expected:
            problem = f"went on from {found[0]}, not from {expected}"
        else:
            problem = "" if within.bits(found[1]) == self.bits[expected] else "loaded other numbers than were saved"
        lost = [one for one in aside if not any(there.startswith(one) for there in kept)]
        return Trial(name, problem or (f"did not set {', '.join(lost)} aside" if lost else ""))


def write(path: Path, content: bytes) -> None:
    """In a new file: the old one is also another copy's."""
    path.unlink()
    path.write_bytes(content)


def cut(name: str, length: int, copy: Path) -> None:
    """Truncates a file."""
    write(copy / name, (copy / name).read_bytes()[:length])


def delete(name: str, copy: Path) -> None:
    """Removes a file."""
    (copy / name).unlink()


def flip(name: str, bit: int, copy: Path) -> None:
    """Flips a bit, counted from the file's beginning."""
    content = bytearray((copy / name).read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    write(copy / name, bytes(content))


def lengthen(name: str, copy: Path) -> None:
    """Adds a byte."""
    write(copy / name, (copy / name).read_bytes() + b"\0")


def files(made: Made, full: bool) -> Iterator[Callable[[], Trial]]:
    """Every file of the newest checkpoint and of the one before it, in every way."""
    newest, before, *_ = made.steps
    for step, expected in ((newest, before), (before, newest)):
        for name in made.names(step):
            size = (made.kept / name).stat().st_size
            damages: dict[str, Damage] = {f"deleted: {name}": functools.partial(delete, name)}
            damages[f"a byte added: {name}"] = functools.partial(lengthen, name)
            for length in _spread(size, 16 if full else 3):
                damages[f"cut: {name} at {length:,}"] = functools.partial(cut, name, length)
            for byte in _spread(size, 64 if full else 3):
                bit = 8 * byte + byte % 8
                damages[f"a bit flipped: {name}, bit {bit:,}"] = functools.partial(flip, name, bit)
            for what, damage in damages.items():
                # An older one that lacks a file was being pruned: it is removed, as it was about to be.
                pruned = step == before and what.startswith("deleted") and not name.endswith("manifest.json")
                unconfirmed = what.startswith("deleted") and name.endswith("manifest.json")
                aside = [] if pruned else ["unconfirmed" if unconfirmed else f"{step}-"]
                yield functools.partial(made.trial, what, damage, expected, aside)


def _spread(size: int, count: int) -> list[int]:
    """So many places of a file, its first and its last among them."""
    return sorted({int(place) for place in np.linspace(0, size - 1, count)}) if size else []


def manifest_bits(made: Made, full: bool) -> Iterator[Callable[[], Trial]]:
    """The bits of the newest checkpoint's manifest, one at a time."""
    newest, before, *_ = made.steps
    name = f"{newest}.manifest.json"
    for bit in range(0, 8 * (made.kept / name).stat().st_size, 1 if full else BITS_STEP):
        damage = functools.partial(flip, name, bit)
        yield functools.partial(made.trial, f"bit {bit % 8} of a byte: {bit // 8}", damage, before, [f"{newest}-"])


def missing(made: Made) -> Iterator[Callable[[], Trial]]:
    """What is not there at all, or more than one of them."""
    newest, before, oldest = made.steps

    def of(steps: Sequence[int], copy: Path) -> None:
        for step in steps:
            flip(made.names(step)[0], 0, copy)

    def without_manifests(steps: Sequence[int], copy: Path) -> None:
        for step in steps:
            delete(f"{step}.manifest.json", copy)

    def without(step: int, copy: Path) -> None:
        shutil.rmtree(copy / str(step))

    def begun(copy: Path) -> None:
        shutil.copytree(copy / str(newest), copy / str(newest + 1))
        (copy / f"{newest + 2}.orbax-checkpoint-tmp").mkdir()

    def exchanged(copy: Path) -> None:
        contents = {step: (copy / f"{step}.manifest.json").read_bytes() for step in (newest, before)}
        write(copy / f"{newest}.manifest.json", contents[before])
        write(copy / f"{before}.manifest.json", contents[newest])

    partial = functools.partial
    for name, damage, expected, aside in (
        ("the newest has lost its manifest", partial(without_manifests, [newest]), before, ["unconfirmed"]),
        ("the two newest have lost theirs", partial(without_manifests, [newest, before]), oldest, ["unconfirmed"]),
        ("all have lost theirs", partial(without_manifests, made.steps), None, ["unconfirmed"]),
        ("an older one has lost its manifest", partial(without_manifests, [before]), newest, ["unconfirmed"]),
        ("the newest is gone, and its manifest there", partial(without, newest), before, []),
        ("the two newest are damaged", partial(of, [newest, before]), oldest, [f"{newest}-", f"{before}-"]),
        ("all are damaged", partial(of, made.steps), None, [f"{step}-" for step in made.steps]),
        ("a save was cut off", begun, newest, ["unconfirmed"]),
        ("two manifests have changed places", exchanged, oldest, [f"{newest}-", f"{before}-"]),
    ):
        yield partial(made.trial, name, damage, expected, aside)


def studies(scratch: Path, full: bool) -> Iterator[Callable[[], Trial]]:
    """A finished study that has lost its end and its newest checkpoint, run again."""
    parts = {part: within.experiment(part) for part in (("mapped", "vmapped") if full else ("mapped",))}
    for part, checked in parts.items():
        within.run(checked, scratch / part)
    for part, checked in parts.items():
        wanted = subject.outcome(scratch / part)
        for what in ("a bit", "a file", "the manifest") if full else ("a bit",):
            yield functools.partial(_again, f"{part}, {what}", checked, scratch / part, wanted, scratch)


def _again(name: str, checked, whole: Path, wanted: dict[str, bytes], scratch: Path) -> Trial:
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        workdir = Path(shutil.copytree(whole, Path(place) / "study"))
        group = workdir / "groups" / "0"
        for path in ("done.json", "test.json", "predictions.npz"):
            (group / path).unlink()
        kept = group / "checkpoints"
        newest = max(int(path.name) for path in kept.iterdir() if path.name.isdigit())
        inside = [path for path in (kept / str(newest)).rglob("*") if path.is_file()]
        largest = str(max(inside, key=lambda path: path.stat().st_size).relative_to(kept))
        if name.endswith("bit"):
            flip(largest, 4 * (kept / largest).stat().st_size, kept)
        else:
            delete(f"{newest}.manifest.json" if name.endswith("manifest") else largest, kept)
        within.run(checked, workdir)
        return Trial(name, subject.differing(subject.outcome(workdir), wanted))
