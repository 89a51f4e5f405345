"""Decoded images, kept as memory-mapped arrays under the user's cache: each set is there whole or not at all.

What it is made of is on the disk before it has its name, with SHA-256 of every file, held against it at each start.
"""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import RunError
from fmnist_jax.writers import sync_names

LAYOUT = 2  # part of every key: raise it when what is stored, or how it is decoded, changes
_BUILDING = ".building-"


@dataclasses.dataclass(frozen=True)
class Part:
    """One split on its way into the cache. `images` is read once, in order, and may fill `labels` as it goes.

    Attributes:
      shape: (N, H, W, C).
      images: N arrays [H, W, C] uint8.
      labels: N class indices; complete when `images` is exhausted.
    """

    shape: tuple[int, int, int, int]
    images: Iterable[np.ndarray]
    labels: list[int]


def root() -> Path:
    """$XDG_CACHE_HOME/fmnist_jax, by default ~/.cache/fmnist_jax. Not created."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "fmnist_jax"


def decoded(key: str, name: str, build: Callable[[], tuple[Part, Part, tuple[str, ...], Callable[[], str]]]) -> Dataset:
    """The set cached under `key`; the first call builds it.

    Args:
      key: hex digest of what decides the content.
      name: the Dataset's name.
      build: returns (train, test, class_names, fingerprint); fingerprint is called after both parts are read.

    Raises:
      RunError: the cache cannot be written (full disk, no permission).
    """
    final = root() / "decoded" / key[:32]
    if final.is_dir():
        try:
            return _open(final, name)
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            shutil.rmtree(final, ignore_errors=True)  # damaged from outside: build it again
    train, test, class_names, fingerprint = build()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent)
        with (
            tempfile.TemporaryDirectory(dir=final.parent, prefix=_BUILDING) as scratch,
            open(Path(scratch) / "lock", "wb") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)  # says that this build is alive
            whole = Path(scratch) / "whole"
            whole.mkdir()
            _write(whole, "train", train)
            _write(whole, "test", test)
            about = {"class_names": list(class_names), "fingerprint": fingerprint()}
            with _durable(whole / "meta.json") as file:
                file.write(json.dumps({"about": about, "sha256": _digests(whole, about)}).encode())
            try:
                os.replace(whole, final)
                sync_names(final.parent)
            except OSError:
                if not final.is_dir():  # else another process was first, with the same content
                    raise
        return _open(final, name)
    except OSError as error:
        raise RunError(
            f"{final.parent}: cannot keep decoded images there ({error.strerror or error}); "
            "make room, or set XDG_CACHE_HOME to a writable directory with space"
        ) from error


def _open(directory: Path, name: str) -> Dataset:
    """Raises OSError, ValueError, KeyError, TypeError or EOFError if it is damaged."""
    meta = json.loads((directory / "meta.json").read_text())
    if _digests(directory, about := meta["about"]) != meta["sha256"]:
        raise ValueError(f"{directory}: not as it was written")
    arrays = {
        f"{part}_{kind}": np.load(
            directory / f"{part}_{kind}.npy", mmap_mode="r" if kind == "images" else None, allow_pickle=False
        )
        for part in ("train", "test")
        for kind in ("images", "labels")
    }
    for part in ("train", "test"):
        if len(arrays[f"{part}_images"]) != len(arrays[f"{part}_labels"]):
            raise ValueError(f"{directory}: {part} has not one label an image")
    return Dataset(name=name, class_names=tuple(about["class_names"]), fingerprint=about["fingerprint"], **arrays)


def _write(directory: Path, part: str, source: Part) -> None:
    # Plain writes, not an open_memmap: on a full disk a write raises ENOSPC where a mapped page kills with SIGBUS.
    with _durable(directory / f"{part}_images.npy") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": source.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for image in source.images:
            file.write(np.ascontiguousarray(image))
    with _durable(directory / f"{part}_labels.npy") as file:
        np.save(file, np.asarray(source.labels, np.int32), allow_pickle=False)


@contextlib.contextmanager
def _durable(path: Path):
    """A new file, on the disk when it is closed."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _digests(directory: Path, about: dict) -> dict[str, str]:
    """SHA-256 of what is said of the arrays, and of each of them, read side by side: hashlib lets go of the GIL."""

    def digest(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    paths = sorted(directory.glob("*.npy"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = dict(zip((path.name for path in paths), pool.map(digest, paths), strict=True))
    return found | {"about": hashlib.sha256(json.dumps(about).encode()).hexdigest()}


def _sweep(directory: Path) -> None:
    """Removes what builds that were killed left behind; of a living one the kernel still holds the lock."""
    for left in directory.glob(f"{_BUILDING}*"):
        with contextlib.suppress(OSError), open(left / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
