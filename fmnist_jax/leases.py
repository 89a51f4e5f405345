"""Groups that several processes take off one workdir: a claim that beats, and that another may take over.

Claims are numbered files in a group's directory; who has the highest has the group. One is made by linking, which
succeeds for one process alone (on NFS too), and its holder changes it every BEAT seconds. Whoever sees it unchanged for
LEASE seconds, by a clock of its own that nobody can set back, makes the next one; clocks of machines are never
compared. A holder that was only asleep finds, before it writes, that there is a higher one, and lets go.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from fmnist_jax.errors import RunError, StorageError

BEAT, LEASE = 10.0, 60.0  # seconds
NAME = "claim"
ENDED = "ended"


class Lost(RunError):
    """Another process has taken the group over."""


class Files:
    """The claims of a group on a disk: files in its directory."""

    def __init__(self, directory: Path):
        self.directory = directory

    def numbers(self) -> set[int]:
        """Of the claims that there are."""
        names = (name.partition(".") for name in os.listdir(self.directory))
        return {int(number) for name, _, number in names if name == NAME and number.isdecimal()}

    def read(self, number: int) -> bytes | None:
        """A claim; None where there is none."""
        try:
            return self._named(number).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, number: int) -> None:
        """A claim, if it is there."""
        self._named(number).unlink(missing_ok=True)

    @contextlib.contextmanager
    def create(self, number: int, content: bytes) -> Iterator[Callable[[bytes], None]]:
        """A new claim, and what changes it, to something as long; raises FileExistsError where there is one."""
        own = self.directory / f".{NAME}.{uuid.uuid4().hex}"
        # Written through this, and not by its name, it can never write over another's.
        file = os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)

        def write(content: bytes) -> None:
            os.pwrite(file, content, 0)  # in place and of one length: a reader finds this or the last, never nothing
            os.fsync(file)

        try:
            try:
                write(content)
                _link(own, self._named(number))
            finally:
                own.unlink()
            yield write
        finally:
            os.close(file)

    def _named(self, number: int) -> Path:
        return self.directory / f"{NAME}.{number}"


class Claim:
    """A group's claim: this process's until `close`, or until it is lost."""

    def __init__(self, directory: Path, number: int, beat: float = BEAT, claims: "Files | None" = None):
        """Raises FileExistsError where another process has that number."""
        self.directory, self.number, self._claims = directory, number, claims or Files(directory)
        self._open = contextlib.ExitStack()
        self._change = self._open.enter_context(self._claims.create(number, _content(0)))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, args=(beat,), name=NAME, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises Lost where the group is not this process's any more."""
        if (highest := max(self._claims.numbers(), default=-1)) != self.number:
            holder = parsed(self._claims.read(highest)).get("holder", "another process")
            raise Lost(f"{self.directory}: taken over by {holder}")

    def close(self) -> None:
        """Lets go of it."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError, StorageError):  # then it is silent, and taken over a little later
            self._change(_content(0, held=False))
        self._open.close()

    def _keep(self, beat: float) -> None:
        beats = 0
        while not self._ended.wait(beat):
            beats += 1
            with contextlib.suppress(OSError, StorageError):  # a full disk, a server that is away: `check` will tell
                self._change(_content(beats))


def _content(beats: int, *, held: bool = True) -> bytes:
    """Of a claim of this process; as long whatever it says."""
    claim = {"held": int(held), "holder": _named(), "process": _process(), "beats": f"{beats:012}"}
    return json.dumps(claim).encode()


class Watch:
    """What this process has seen of others' claims, and when."""

    def __init__(self, lease: float = LEASE, beat: float = BEAT, claims_of: Callable[[Path], Files] = Files):
        self.lease, self.beat, self._claims_of = lease, beat, claims_of
        self._seen: dict[tuple[Path, int], tuple[bytes, float]] = {}  # claim -> its content, and since when it is that

    def take(self, directory: Path) -> Claim | None:
        """The claim of a group that nobody has, or whose holder is dead; None where someone is at work on it."""
        claims = self._claims_of(directory)
        highest = max(claims.numbers(), default=-1)
        if highest >= 0 and not self._free(directory, claims, highest):
            return None
        try:
            claim = Claim(directory, highest + 1, self.beat, claims)
        except FileExistsError:
            return None
        numbers = claims.numbers()
        if max(numbers, default=-1) != claim.number:  # what was seen is long past: others came and went meanwhile
            claim.close()
            return None
        for number in numbers - {claim.number}:
            claims.remove(number)
        return claim

    def holder(self, directory: Path) -> str:
        """Who has a group, or had it last."""
        claims = self._claims_of(directory)
        return parsed(claims.read(max(claims.numbers(), default=-1))).get("holder", "another process")

    def _free(self, directory: Path, claims: Files, number: int) -> bool:
        if (content := claims.read(number)) is None:
            return False  # another has just taken it, and removed this one
        if parsed(content).get("held") == 0 or dead(content):
            return True
        known, since = self._seen.get((directory, number), (None, 0.0))
        if known != content:
            since = time.monotonic()
            self._seen[directory, number] = content, since
        return time.monotonic() - since >= self.lease


def _link(own: Path, name: Path) -> None:
    try:
        os.link(own, name)
    except FileExistsError:
        if own.stat().st_nlink != 2:  # 2: it was this one's, and the server's answer was lost
            raise


def parsed(content: bytes | None) -> dict:
    """What a claim says; nothing where it is damaged."""
    try:
        found = json.loads(content or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def dead(content: bytes) -> bool:
    """Whether it can be known here that the holder has ended: a process of this machine that is no more.

    A number that another process has got since is told by when that began; another machine's, or another container's,
    processes cannot be seen, and have the time that LEASE gives them.
    """
    process, mine = parsed(content).get("process"), _process()
    if not isinstance(process, dict) or not mine or process.get("space") != mine["space"]:
        return False
    began = _began(process.get("id"))
    return None not in (began, process.get("began")) and began != process["began"]


def ended(process: int) -> bool:
    """Whether there is no such process of this machine; False where the system does not tell."""
    return _process() is not None and _began(process) == ENDED


def _named() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _process() -> dict | None:
    """This process among those that it can see; None where the system does not tell."""
    try:
        space = Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
    return {"space": space, "id": os.getpid(), "began": _began(os.getpid())}


def _began(process) -> str | None:
    """When a process began, in ticks since the machine did; ENDED of one that is no more, or waits to be reaped.

    None of one that may not be looked at, as another user's where /proc is mounted with hidepid.
    """
    try:
        state, *rest = Path(f"/proc/{int(process)}/stat").read_text().rpartition(")")[2].split()
        return ENDED if state == "Z" else rest[18]
    except OSError:
        return None if _lives(int(process)) else ENDED
    except (ValueError, TypeError, IndexError):
        return ENDED


def _lives(process: int) -> bool:
    try:
        with contextlib.suppress(PermissionError):
            os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True
