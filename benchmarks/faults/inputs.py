"""Damaged files of images and of weights: a result that is right, or one line that names the file, in bounded memory.

Every kind is read in a process of its own, whose peak of memory is a figure, and whose end by a signal would be seen.
This package unpacks no archive, so that no `../` in one can be followed; links in folders of images are followed as far
as the folder goes.
"""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.faults import bombs, damage, names, readers, row, weight_readers
from benchmarks.faults.row import Row, Trial

PROMISE = "a right result, or refused in one line that names the file; no traceback; bounded memory"
# That one file may take: an image of all the pixels that are allowed, in two modes, and its bytes. A decoder takes four
# bytes a pixel of an allowed size before it finds that the rest is damaged. What is refused for its promises has not
# been inflated before (the bombs hold 268 MB).
MOST_MEGABYTES = {readers.LOADED: 1200, readers.REFUSED: 300}
MOST_MEGABYTES_OF_A_BOMB = {readers.LOADED: 1200, readers.REFUSED: 128}
MOST_SECONDS = 20
# Fault -> what reads such files, and how many there are, in short and in full: of images 10,000, and of weights more.
KINDS: dict[str, tuple[type[readers.Reader], int, int]] = {
    "IDX files damaged": (readers.IdxFile, 150, 2500),
    "four IDX files: damaged, swapped, other labels": (readers.IdxSet, 60, 1000),
    "Fashion-MNIST's files, known by their hashes, damaged or swapped": (readers.KnownSet, 40, 500),
    "image files damaged": (readers.ImageFile, 250, 5400),
    "folders of images with a damaged one": (readers.Folder, 25, 700),
    "the cache of decoded images damaged": (readers.Cached, 20, 300),
    "weights damaged, .safetensors": (weight_readers.Safetensors, 60, 700),
    "weights damaged or evil, .pth": (weight_readers.Torch, 50, 500),
}
BY_HAND = {
    "files that promise more than they hold": bombs.CASES,
    "odd names and links in folders of images": names.CASES,
}


def measure(full: bool, scratch: Path) -> list[Row]:
    """A row for each kind of file that is damaged at random, and for each table of what is written by hand."""
    works = {
        fault: functools.partial(fuzzed, reader, long if full else short, scratch / reader.__name__)
        for fault, (reader, short, long) in KINDS.items()
    }
    works |= {fault: functools.partial(by_hand, fault, scratch / str(i)) for i, fault in enumerate(BY_HAND)}
    return [_row(fault, work) for fault, work in works.items()]


def _row(fault: str, work: Callable) -> Row:
    facts: dict = {}
    kind = (lambda trial: trial.name.split(" #")[0]) if fault not in BY_HAND else (lambda trial: trial.name)
    return row.of(fault, PROMISE, _in_a_process(work, facts), kind=kind, facts=lambda: facts)


def _in_a_process(work: Callable, facts: dict) -> Iterator[Callable[[], Trial]]:
    """The trials that a process of its own has made; where it did not come to its end, that is one."""
    context = multiprocessing.get_context("spawn")
    try:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            trials, found = pool.submit(work).result()
    except Exception as error:
        trials, found = [Trial("the process that reads them", f"{type(error).__name__}: {error}")], {}
    facts.update(found)
    yield from (functools.partial(_as_it_is, trial) for trial in trials)


def _as_it_is(trial: Trial) -> Trial:
    return trial


def fuzzed(reader: type[readers.Reader], count: int, place: Path) -> tuple[list[Trial], dict]:
    """Reads so many damaged files; what came of each, and what it took."""
    place.mkdir(parents=True)
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    read = reader(place)
    drawn = enumerate(damage.drawn(read.cases, count))
    cases = [(f"{done} #{i}, {name}", functools.partial(read, name, case)) for i, (name, done, case) in drawn]
    return _made(cases, place, MOST_MEGABYTES)


def by_hand(fault: str, place: Path) -> tuple[list[Trial], dict]:
    """The same of a table of cases."""
    place.mkdir(parents=True)
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    cases = [(name, functools.partial(case, place)) for name, case in BY_HAND[fault].items()]
    return _made(cases, place, MOST_MEGABYTES_OF_A_BOMB)


def _made(cases: Sequence[tuple[str, Callable]], place: Path, most_megabytes: dict) -> tuple[list[Trial], dict]:
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401 -- what reads a .pth takes 200 MB, which is none of a file's
    counts, slowest, most, trials = {readers.LOADED: 0, readers.REFUSED: 0}, 0.0, 0.0, []
    with _quietly(place / "said.txt"):
        for name, case in cases:
            start, peak, outcome = time.perf_counter(), _lowered_peak(), readers.REFUSED
            try:
                outcome, problem = case()
                counts[outcome] += 1
            except Exception as error:  # what would be a traceback
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            seconds, grown = time.perf_counter() - start, _peak_megabytes() - peak
            slowest, most = max(slowest, seconds), max(most, grown)
            if not problem and (seconds > MOST_SECONDS or grown > most_megabytes[outcome]):
                problem = f"took {seconds:.0f} s and {grown:.0f} MB"
            trials.append(Trial(name, problem))
    return trials, counts | {"most megabytes for one": round(most), "slowest, seconds": round(slowest, 2)}


def _lowered_peak() -> float:
    """The peak of memory, in MB, made what is used now, or an earlier case's would hide this one's."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_megabytes()


def _peak_megabytes() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024


@contextlib.contextmanager
def _quietly(path: Path) -> Iterator[None]:
    """What libraries in C say of damaged files goes to a file."""
    kept = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
