"""Hosts as one: the processes of a job, which train the runs of every group between them. On JAX and signals alone.

JAX brings them together (`jax.distributed`) and keeps what they tell each other; no array of one ever goes to another.
The one that leads, host 0, has the workdir: it makes the groups, writes the rows and the tables, and tells the others
what to train next. All of them take part in every `gather` and `tell`, in the same order. One that fails at its work
says so, and no other waits for it; one that ends by itself says why. One that dies or freezes is seen by its beats:
within GONE seconds and a little more the others end, and name it; one that lives and yet does not come to what all do
together, after STUCK seconds. The same command goes on from the newest checkpoint. A signal that one of them gets, the
one that leads gets too.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from fmnist_jax import signals
from fmnist_jax.errors import RunError, StorageError, UserError

BEAT, GONE = 2.0, 20.0  # seconds: between two signs of life, and without one until a host counts as gone
START_SECONDS = 300  # for all to be there
STUCK = 900.0  # seconds within a share of work, which all do alike, until one that does not come counts as gone
END_SECONDS = 60  # for all to have heard that it is over
PART_SECONDS = 1.0
WAIT_MILLISECONDS = 1000  # between two looks at whether it is still worth waiting
PIECE = 2**20  # bytes of a message that go at once: gRPC takes 4 MiB
STATUS = 1  # of a process whose fellow is gone


class Failed(RunError):
    """Another host could not do its share."""

    def __init__(self, text: str, out_of_memory: bool = False):
        super().__init__(text)
        self.out_of_memory = out_of_memory


class Ended(Exception):
    """The host that leads has ended; `status` is its exit status."""

    def __init__(self, status: int):
        super().__init__(f"host 0 has ended with status {status}; it says why")
        self.status = status


@dataclasses.dataclass(frozen=True)
class Address:
    """How to find the others; what is None, JAX finds out from SLURM, Open MPI, Kubernetes or a TPU's metadata."""

    coordinator: str | None = None  # HOST:PORT of host 0
    count: int | None = None
    index: int | None = None


def parse(words: str | None) -> Address | None:
    """Of the flag --distributed: `auto`, or I/N@HOST:PORT; None where it is not given.

    Raises:
      UserError: of anything else.
    """
    if words is None:
        return None
    if words == "auto":
        return Address()
    found = re.fullmatch(r"(\d+)/(\d+)@([^@\s]+:\d+)", words)
    if not found or not int(found[1]) < int(found[2]):
        raise UserError(
            f"--distributed={words}: must be auto, or I/N@HOST:PORT: the I-th of N hosts, and where host 0 is"
        )
    return Address(found[3], int(found[2]), int(found[1]))


class Hosts:
    """The hosts of a job as one of them sees them; `ALONE`, where there is but one.

    Attributes:
      index: which of them this is.
      count: how many they are.
    """

    def __init__(self, index: int = 0, count: int = 1, client: Any = None, address: str = ""):
        self.index, self.count, self._client, self._address = index, count, client, address
        self._turn = 0  # gathers and tells so far, of all hosts the same
        self._told: list[tuple[str, int]] = []  # by this host, and perhaps not heard by all yet
        self._work = 0  # shares of work begun, of all hosts the same
        self._at_work = self._closing = False
        self._ended, self._status = threading.Event(), STATUS
        self._names = [_name()]
        if client:
            self._names = [f"host {i}" for i in range(count)]
            self._at_work = True  # bringing them together
            self._put(f"name/{index}", _name().encode())
            self._names = [self._take(f"name/{i}", keep=True, within=START_SECONDS).decode() for i in range(count)]
            self._at_work = False
            _watch_abort(self)
            for work in (self._beat, self._watch):
                threading.Thread(target=work, name="hosts", daemon=True).start()

    @property
    def leads(self) -> bool:
        """Whether this is the host that writes what there is one of."""
        return self.index == 0

    def called(self, index: int) -> str:
        """A host in words."""
        return f"host {index} of {self.count} ({self._names[index]})"

    def share(self, runs: int) -> np.ndarray:
        """Which of so many runs are this host's: as many for each host, the last filled up with copies of the last."""
        each = -(-runs // self.count)
        return np.minimum(np.arange(self.index * each, (self.index + 1) * each), runs - 1)

    def own(self, runs: int) -> int:
        """How many of its share are not copies."""
        each = -(-runs // self.count)
        return min(max(runs - self.index * each, 0), each)

    def next_turn(self) -> int:
        """A number that nothing else has that the hosts do together; each of them must ask for it."""
        self._turn += 1
        return self._turn

    def gather(self, value) -> list | None:
        """Everyone's `value`, as JSON holds it, in order, for the host that leads; None for the others.

        Raises:
          Failed: another host could not do its share.
        """
        if self.count == 1:
            return [value]
        turn = self.next_turn()
        if not self.leads:
            self._put(f"{turn}/{self.index}", json.dumps(value).encode())
            return None
        found = [value]
        for i in range(1, self.count):
            found.append(json.loads(self._take(f"{turn}/{i}", of=i)))
        for key, pieces in self._told:  # everyone is past them
            self._forget(key, pieces)
        self._told = []
        return found

    def tell(self, value=None):
        """The `value` of the host that leads, as JSON holds it, on all of them.

        Raises:
          Failed: another host could not do its share.
        """
        if self.count == 1:
            return value
        key = f"{self.next_turn()}/0"
        if not self.leads:
            return json.loads(self._take(key, keep=True))
        content = json.dumps(value).encode()
        self._told.append((key, self._put(key, content)))
        return json.loads(content)

    def agree(self, value, join: Callable[[list], Any]):
        """`join` of everyone's `value`, on all of them."""
        found = self.gather(value)
        return self.tell(join(found) if self.leads else None)

    def same(self, facts: Mapping[str, Any]) -> None:
        """Sees to it that facts, as JSON or `str` has them, are the same on all hosts.

        Raises:
          UserError: they are not; names a host and a fact, on all of them.
          Failed: another host could not do its share.
        """
        facts = {name: json.dumps(value, default=str) for name, value in facts.items()}
        found = self.gather(facts)
        if problem := self.tell(self._unlike(found) if self.leads else None):
            raise UserError(problem)

    def _unlike(self, found: list[Mapping[str, str]]) -> str:
        for i, other in enumerate(found):
            for name in found[0].keys() | other.keys():
                if (here := found[0].get(name)) != (there := other.get(name)):
                    return f"--distributed: {name} is {there} on {self.called(i)}, and {here} on {self.called(0)}"
        return ""

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """A share of work that each of them does: what goes wrong with one's ends the others' too."""
        self._work, self._at_work = self._work + 1, True
        try:
            yield
        except Failed:
            raise
        except Exception as error:
            if self.count > 1:
                if failure := self._found(self._failure):  # it is why this one got nowhere
                    self._fail(json.loads(failure))
                memory = out_of_memory(error)
                words = " ".join(str(error).split()) or type(error).__name__
                failure = {"host": self.index, "error": words, "memory": memory, "storage": _of_storage(error)}
                with contextlib.suppress(Exception):  # another was first
                    self._client.key_value_set(self._failure, json.dumps(failure))
            raise
        finally:
            self._at_work = False
            self._turn = 10**9 * self._work  # wherever each of them stopped, from here on they are together again

    def close(self, status: int, why: str = "") -> None:
        """The end, with this process's exit status, and of a failure why; waits until the others know."""
        if self.count == 1 or self._ended.is_set():
            return
        self._closing = True
        with contextlib.suppress(Exception):  # the others are gone, or will see that this one is
            if self.leads:
                self._client.key_value_set("ended", str(status))
            of_all = status == 0 or status > 128  # the one that leads comes to it too, when it has written its page
            while of_all and self._found("ended") is None:
                time.sleep(BEAT / 4)
            if self._found("ended") is None:
                self._client.key_value_set("gone", f"{self.called(self.index)} has ended: {why or 'it says why'}")
                time.sleep(3 * BEAT)  # for the others to look
            else:
                self._client.wait_at_barrier("ended", END_SECONDS * 1000)
        self._status = status
        self._ended.set()
        if self.leads:
            time.sleep(PART_SECONDS)  # for the others to hang up first
        with contextlib.suppress(Exception):
            jax.distributed.shutdown()

    @property
    def _failure(self) -> str:
        return f"failed/{self._work}"

    def _put(self, key: str, content: bytes) -> int:
        """Under a key, in pieces; how many."""
        pieces = [content[i : i + PIECE] for i in range(0, len(content), PIECE)] or [b""]
        for i, piece in enumerate(pieces):
            self._client.key_value_set_bytes(f"{key}/{i}", piece)
        self._client.key_value_set(f"{key}/pieces", str(len(pieces)))
        return len(pieces)

    def _take(self, key: str, keep: bool = False, of: int = 0, within: float | None = None) -> bytes:
        """What host `of` has put there, or will; and, if none is to read it after this one, removes it."""
        pieces = int(self._await(f"{key}/pieces", of, within or STUCK))
        content = b"".join(self._client.blocking_key_value_get_bytes(f"{key}/{i}", 60_000) for i in range(pieces))
        if not keep:
            self._forget(key, pieces)
        return content

    def _await(self, key: str, of: int, within: float) -> str:
        since = time.monotonic()
        while True:
            try:
                return self._client.blocking_key_value_get(key, WAIT_MILLISECONDS)
            except jax.errors.JaxRuntimeError as error:
                if not str(error).startswith("DEADLINE_EXCEEDED"):
                    raise RunError(f"{self.called(0)} cannot be reached: {str(error).splitlines()[0]}") from None
            if self._at_work and (failure := self._found(self._failure)):
                self._fail(json.loads(failure))
            if (status := self._found("ended")) is not None:
                raise Ended(int(status))
            if self._at_work and time.monotonic() - since > within:
                self._part(f"{self.called(of)} has not come to where the others are for {within:g} s, and")

    def _fail(self, failure: dict) -> None:
        words = f"{self.called(failure['host'])}: {failure['error']}"
        raise StorageError(words) if failure["storage"] else Failed(words, failure["memory"])

    def _found(self, key: str) -> str | None:
        try:
            return self._client.key_value_try_get(key)
        except jax.errors.JaxRuntimeError:
            return None

    def _forget(self, key: str, pieces: int) -> None:
        for name in [*map(str, range(pieces)), "pieces"]:
            self._client.key_value_delete(f"{key}/{name}")

    def _beat(self) -> None:
        """Says every BEAT seconds that this host is there, and what signal it has been sent."""
        beats = 0
        while not self._ended.wait(BEAT):
            beats += 1
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # the leader is gone: `_watch` will see
                self._client.key_value_set(f"beat/{self.index}", str(beats), allow_overwrite=True)
                if received := signals.received():
                    self._client.key_value_set("signal", str(received), allow_overwrite=True)

    def _watch(self) -> None:
        """The leader looks at all the others' beats, the others at the leader's, and at what it has found."""
        watched = range(1, self.count) if self.leads else (0,)
        seen = {i: (None, time.monotonic()) for i in watched}
        answers: dict[int, str | None] = {}
        while not self._ended.wait(BEAT):  # a leader that hangs never answers: that is waited for in another thread
            asking = threading.Thread(target=self._look, args=(watched, answers), daemon=True)
            asking.start()
            asking.join(GONE)
            now = time.monotonic()
            for i in watched:
                if i in answers and answers[i] != seen[i][0]:
                    seen[i] = answers[i], now
                elif now - seen[i][1] > GONE and not self._ended.is_set():
                    self._part(self.called(i))
            if (gone := answers.get(-1)) is not None and not self._closing:
                self._part(gone)
            if self.leads and (signum := answers.get(-2)):
                signals.pass_on(int(signum))

    def _look(self, watched, answers: dict) -> None:
        for i in watched:
            answers[i] = self._found(f"beat/{i}")
        answers[-1], answers[-2] = self._found("gone"), self._found("signal")

    def _part(self, gone: str) -> None:
        """Ends this process, because another is no more; the leader lets the others know first."""
        if self.leads:
            with contextlib.suppress(Exception):
                self._client.key_value_set("gone", gone, allow_overwrite=True)
            _say(gone)
            time.sleep(3 * BEAT)  # for them to look
            os._exit(STATUS)
        _say(gone)
        os._exit(STATUS)


def join(address: Address | None) -> Hosts:
    """Waits until all are there. Before JAX first looks for devices.

    Raises:
      UserError: the address is none.
      RunError: they did not come together in START_SECONDS.
    """
    if address is None:
        return ALONE
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM, which is this package's to hear
    jax.config.update("jax_enable_recoverability", True)  # or a host's death ends the others before they can name it
    found = {} if address.count is None else {"cluster_detection_method": "deactivate"}
    try:
        jax.distributed.initialize(
            address.coordinator,
            address.count,
            address.index,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=10 * int(GONE),  # JAX's own, which does not name who is gone
            shutdown_timeout_seconds=int(GONE),
            **found,
        )
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        kind = UserError if isinstance(error, ValueError) else RunError  # of a host that is late: it may be tried again
        raise kind(f"--distributed: the hosts did not come together: {first}") from None
    from jax._src.distributed import global_state  # the client has no public name

    return Hosts(
        global_state.process_id, global_state.num_processes, global_state.client, global_state.coordinator_address
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether it is that, however it is put."""
    if isinstance(error, MemoryError) or (isinstance(error, Failed) and error.out_of_memory):
        return True
    words = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "bad_alloc", "Unable to allocate")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in words)


def _of_storage(error: Exception) -> bool:
    return isinstance(error, (StorageError, OSError))


def _name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _say(gone: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        gone = gone if " has ended: " in gone else f"{gone} is gone"
        words = f"\n{gone}; the same command on all hosts goes on from the newest checkpoint"
        print(words, file=sys.stderr, flush=True)


def _watch_abort(hosts: Hosts) -> None:
    """Names the leader, where JAX aborts because it cannot be reached any more: Python would not be asked."""

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def aborting(signum):
        if hosts._ended.is_set():  # it was slow to hang up, and all is done
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(hosts._status)
        host, _, port = hosts._address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=BEAT).close()
        except OSError:
            _say(hosts.called(0))
            os._exit(STATUS)

    hosts._aborting = aborting  # kept, as long as it may be called
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).signal(signal.SIGABRT, aborting)


ALONE = Hosts()
