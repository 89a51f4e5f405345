"""A workdir in a bucket (gs://, s3://): worked on in a directory here, and kept in step with the bucket.

The bucket is the truth. Before a study begins the directory is made like it; what this process then owns (the groups it
has claimed; while it has its turn, everything) goes there every KEEP seconds and whenever something is done. What makes
something count (a manifest, done.json) goes last, and what is gone here goes there after that, so that whoever reads
the bucket at any moment finds what it can go on from. Processes that have one workdir in a bucket share it by claims,
which are objects made only where there is none: a bucket can do that at once.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fmnist_jax import leases
from fmnist_jax.bucket import Bucket, Objects
from fmnist_jax.data import cache
from fmnist_jax.errors import StorageError
from fmnist_jax.store import Disk

KEEP = 20.0  # seconds between two times that what is new goes to the bucket
MANIFEST = ".manifest.json"
# What makes something count, in the order in which it goes there.
COMMITS = (MANIFEST, "study.json", "group.json", "split.json", "failed.json", "done.json", "test.json")
OWN = ("lock", "turn")  # of this machine
TURNS = "turns"
THREADS = 8


class Mirror(Disk):
    """A workdir in a bucket; `directory` is the one here."""

    def __init__(self, url: str, directory: Path | None = None):
        self.bucket = Bucket(url.rstrip("/"))
        super().__init__(directory or self._free())
        self._parts: list[str] = []  # names of workdirs within it, which are mirrored by themselves
        self._marks: dict[str, str] = {}  # name -> the mark of the object that the file here is a copy of
        self._sent: dict[str, tuple[int, int]] = {}  # name -> size and time of the file that the bucket has
        self._owned: dict[str, Callable[[], None]] = {}  # directory -> what raises Lost; "" is all of it
        self._lock = threading.RLock()

    def _free(self) -> Path:
        """A directory below the cache that no other process works in; the kernel lets go of it when this one ends."""
        place = cache.root() / "workdirs" / hashlib.sha256(self.bucket.url.encode()).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        for number in itertools.count():
            self._held = os.open(place / f"{number}.lock", os.O_CREAT | os.O_RDWR)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return place / str(number)
            os.close(self._held)
        raise AssertionError("unreachable")

    def part(self, name: str) -> "Mirror":
        """The workdir of a part of a paper."""
        self._parts.append(name)
        return Mirror(f"{self.bucket.url}/{name}", self.directory / name)

    @contextlib.contextmanager
    def lock(self, shared: bool) -> Iterator[None]:
        """The directory here is as the bucket is; at the end what is this process's is there. It keeps nobody out."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._drop(path for path in self._files() if _of_checkpoints(self._name(path)))  # who knows how old they are
        self._bring(_of_checkpoints)
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep_on, args=(ended,), name="bucket", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()
            self.keep()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """As `workdir.turn`, among all that share it; all there is is here before it, what is new is there after it."""
        if "" in self._owned:  # within it already
            yield
            return
        watch = leases.Watch(claims_of=lambda _: Objects(self.bucket, TURNS))
        while (claim := watch.take(Path(TURNS))) is None:
            time.sleep(1)
        with contextlib.closing(claim):
            self._bring(lambda name: _of_checkpoints(name) or self._owns(name))
            with self.working(self.directory, claim):  # only what is new here is sent: of others' groups nothing is
                yield

    def watch(self) -> leases.Watch:
        """Of the claims of groups."""
        return leases.Watch(claims_of=lambda directory: Objects(self.bucket, self._name(directory)))

    def look(self) -> None:
        """Brings what others say of their groups: what they are, and whether they are done."""
        if "" not in self._owned:
            self._bring(lambda name: self._owns(name) or not name.endswith(COMMITS) or _of_checkpoints(name))

    def fetch(self, directory: Path) -> None:
        """Brings all there is of a group, unless it is this process's; within a turn, but for what is new here."""
        name = self._name(directory)
        if name not in self._owned:
            self._bring(lambda other: self._owns(other) and not _of_checkpoints(other) and self._newer(other), name)

    def _own(self, directory: Path, check: Callable[[], None]) -> None:
        with self._lock:
            self._owned[self._name(directory)] = check

    def _give_up(self, directory: Path, lost: bool) -> None:
        """Of what was lost, nothing that is new here is ever to be sent."""
        name = self._name(directory)
        with self._lock:
            self._owned.pop(name, None)
            if lost and name:
                self._drop(path for path in self._files(name) if self._newer(self._name(path)))

    def keep(self) -> None:
        """What is new here, of what is this process's, goes to the bucket.

        Raises:
          StorageError: it did not; says where it is.
        """
        with self._lock:
            try:
                self._send()
            except StorageError as error:
                raise StorageError(f"{error}; what is not there yet is in {self.directory}") from error

    def forget(self) -> None:
        """Removes the directory here."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _keep_on(self, ended: threading.Event) -> None:
        while not ended.wait(KEEP):
            with contextlib.suppress(StorageError, OSError), self._lock:  # it is tried again, and told of at the end
                self._send()

    def _name(self, path: Path) -> str:
        name = path.relative_to(self.directory).as_posix()
        return "" if name == "." else name

    def _owns(self, name: str) -> bool:
        """Whether a file is this process's to send."""
        return "" in self._owned or any(name.startswith(f"{own}/") for own in self._owned)

    def _mirrored(self, name: str) -> bool:
        return not (_of_claims(name) or any(name.startswith(f"{part}/") for part in self._parts))

    def _files(self, below: str = "") -> Iterator[Path]:
        return (path for path in _files(self.directory / below) if self._mirrored(self._name(path)))

    def _bring(self, skip: Callable[[str], bool], below: str = "") -> None:
        """Makes the files here those of the bucket, but for those that `skip` says."""
        with self._lock:
            there = {name: mark for name, mark in self.bucket.marks(below).items() if self._mirrored(name)}
            wanted = [name for name, mark in there.items() if not skip(name) and not self._has(name, mark)]
            with ThreadPoolExecutor(THREADS) as pool:
                brought = list(pool.map(self._bring_one, wanted))
            for name in [name for name, found in zip(wanted, brought, strict=True) if found]:
                self._marks[name], self._sent[name] = there[name], _stamp(self.directory / name)
            for name in [self._name(path) for path in self._files(below)]:
                if name not in there and not skip(name):
                    self._drop([self.directory / name])

    def _drop(self, paths: Iterable[Path]) -> None:
        """Removes files here, which says nothing of the bucket's."""
        for path in list(paths):
            path.unlink(missing_ok=True)
            self._sent.pop(self._name(path), None)

    def _has(self, name: str, mark: str) -> bool:
        path = self.directory / name
        return self._marks.get(name) == mark and path.exists() and _stamp(path) == self._sent.get(name)

    def _bring_one(self, name: str) -> bool:
        path = self.directory / name
        try:
            content = self.bucket.read(name)
        except FileNotFoundError:  # gone since it was listed
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{threading.get_ident()}"
        temporary.write_bytes(content)
        os.replace(temporary, path)
        return True

    def _send(self) -> None:
        """Contents, what commits them, what is gone; before them what is gone and would be read with a new commit."""
        self._check()
        gone = [name for name in self._sent if self._owns(name) and not (self.directory / name).exists()]
        new = [path for path in self._files() if self._owns(name := self._name(path)) and self._newer(name)]
        self._remove(name for name in gone if name.endswith(COMMITS) and not name.endswith(MANIFEST))
        with ThreadPoolExecutor(THREADS) as pool:
            contents = [path for path in new if not path.name.endswith(COMMITS)]
            lost = {self._name(path.parent) for path in pool.map(self._send_one, contents) if path}
            self._check()  # that may have taken longer than another waits
            for ending in COMMITS:
                commits = [name for path in new if path.name.endswith(ending) and self._owns(name := self._name(path))]
                whole = [self.directory / name for name in commits if not _of_lost(name, lost)]
                list(pool.map(self._send_one, whole))
        self._remove(name for name in gone if name.endswith(MANIFEST))
        self._remove(name for name in gone if not name.endswith(COMMITS))

    def _check(self) -> None:
        """What another process has taken over is this one's no more."""
        for name, check in list(self._owned.items()):
            try:
                check()
            except leases.Lost:
                self._owned.pop(name, None)

    def _newer(self, name: str) -> bool:
        """Whether a file here is not what the bucket has."""
        return (stamp := _stamp(self.directory / name)) is not None and stamp != self._sent.get(name)

    def _remove(self, names: Iterable[str]) -> None:
        for name in [name for name in names if self._owns(name)]:
            self.bucket.remove([name])
            self._sent.pop(name, None)

    def _send_one(self, path: Path) -> Path | None:
        """Sends a file; returns it where it is gone meanwhile, as one of a checkpoint that is pruned."""
        name = self._name(path)
        try:
            stamp, content = _stamp(path), path.read_bytes()  # the stamp first: what changes since is sent again
        except FileNotFoundError:
            return path
        self.bucket.write(name, content)
        self._sent[name] = stamp
        self._marks.pop(name, None)
        return None


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def _files(directory: Path) -> Iterator[Path]:
    """What of a workdir goes to a bucket: no temporary file, nothing of this machine."""
    for root, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".") and "orbax-checkpoint-tmp" not in name]
        yield from (Path(root, name) for name in names if not name.startswith(".") and name not in OWN)


def _of_lost(name: str, lost: set[str]) -> bool:
    """Whether a manifest is of a checkpoint some of whose files were gone before they were sent."""
    step = name.removesuffix(MANIFEST)
    return step != name and any(place == step or place.startswith(f"{step}/") for place in lost)


def _of_checkpoints(name: str) -> bool:
    return "/checkpoints/" in f"/{name}"


def _of_claims(name: str) -> bool:
    return f"/{leases.NAME}/" in f"/{name}" or name.startswith(f"{TURNS}/")
