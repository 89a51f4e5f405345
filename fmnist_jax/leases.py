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
from pathlib import Path

from fmnist_jax.errors import RunError

BEAT, LEASE = 10.0, 60.0  # seconds
NAME = "claim"


class Lost(RunError):
    """Another process has taken the group over."""


class Claim:
    """A group's claim: this process's until `close`, or until it is lost."""

    def __init__(self, directory: Path, number: int, beat: float = BEAT):
        """Raises FileExistsError where another process has that number."""
        self.directory, self.number = directory, number
        own = directory / f".{NAME}.{uuid.uuid4().hex}"
        # Written through this, and not by its name, it can never write over another's.
        self._file = os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            self._write(0)
            _link(own, directory / f"{NAME}.{number}")
        except BaseException:
            os.close(self._file)
            raise
        finally:
            own.unlink()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, args=(beat,), name=NAME, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises Lost where the group is not this process's any more."""
        if (highest := newest(self.directory)) != self.number:
            holder = parsed(read(self.directory, highest)).get("holder", "another process")
            raise Lost(f"{self.directory}: taken over by {holder}")

    def close(self) -> None:
        """Lets go of it."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # then it is silent, and taken over a little later
            self._write(0, held=False)
        os.close(self._file)

    def _keep(self, beat: float) -> None:
        beats = 0
        while not self._ended.wait(beat):
            beats += 1
            with contextlib.suppress(OSError):  # a full disk, a server that is away: `check` will tell
                self._write(beats)

    def _write(self, beats: int, *, held: bool = True) -> None:
        """In place and of one length: a reader finds this or the last, and at no moment nothing."""
        claim = {"held": int(held), "holder": _named(), "process": _process(), "beats": f"{beats:012}"}
        os.pwrite(self._file, json.dumps(claim).encode(), 0)
        os.fsync(self._file)


class Watch:
    """What this process has seen of others' claims, and when."""

    def __init__(self, lease: float = LEASE, beat: float = BEAT):
        self.lease, self.beat = lease, beat
        self._seen: dict[tuple[Path, int], tuple[bytes, float]] = {}  # claim -> its content, and since when it is that

    def take(self, directory: Path) -> Claim | None:
        """The claim of a group that nobody has, or whose holder is dead; None where someone is at work on it."""
        highest = newest(directory)
        if highest >= 0 and not self._free(directory, highest):
            return None
        try:
            claim = Claim(directory, highest + 1, self.beat)
        except FileExistsError:
            return None
        if newest(directory) != claim.number:  # what was seen is long past: others came and went meanwhile
            claim.close()
            return None
        for number in _numbers(directory) - {claim.number}:
            (directory / f"{NAME}.{number}").unlink(missing_ok=True)
        return claim

    def _free(self, directory: Path, number: int) -> bool:
        if (content := read(directory, number)) is None:
            return False  # another has just taken it, and removed this one
        if parsed(content).get("held") == 0 or dead(content):
            return True
        known, since = self._seen.get((directory, number), (None, 0.0))
        if known != content:
            since = time.monotonic()
            self._seen[directory, number] = content, since
        return time.monotonic() - since >= self.lease


def newest(directory: Path) -> int:
    """The highest claim of a group; -1 where there is none."""
    return max(_numbers(directory), default=-1)


def _numbers(directory: Path) -> set[int]:
    names = (name.partition(".") for name in os.listdir(directory))
    return {int(number) for name, _, number in names if name == NAME and number.isdecimal()}


def _link(own: Path, name: Path) -> None:
    try:
        os.link(own, name)
    except FileExistsError:
        if own.stat().st_nlink != 2:  # 2: it was this one's, and the server's answer was lost
            raise


def read(directory: Path, number: int) -> bytes | None:
    """The content of a claim; None where there is none."""
    try:
        return (directory / f"{NAME}.{number}").read_bytes()
    except FileNotFoundError:
        return None


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
    return _began(process.get("id")) != process.get("began")


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
    """When a process began, in ticks since the machine did; None of one that is no more, or waits to be reaped."""
    try:
        state, *rest = Path(f"/proc/{int(process)}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else rest[18]
    except (OSError, ValueError, TypeError, IndexError):
        return None
