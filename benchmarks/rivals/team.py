"""Processes that rivals live in, started once and told what to do; what one of them held can be let go."""

import contextlib
import ctypes
import gc
import importlib
import multiprocessing
import os

from benchmarks.cases import Case
from benchmarks.rivals.choices import Choice

LIBRARIES = {"torch": "torch_rival:TorchRun", "vmap": "vmap_rival:VmapRuns", "keras": "keras_rival:KerasRun"}


class Team:
    """Processes that hold a rival a name; 0: all happens in this one. `environment` is laid over this one's."""

    def __init__(self, processes: int, environment: dict[str, str] | None = None):
        self.size, self.environment = processes, environment or {}
        self.members, self.held = [], {}
        self._start()

    def _start(self) -> None:
        spawn, before = multiprocessing.get_context("spawn"), dict(os.environ)
        os.environ.update(self.environment)  # a spawned process has no other way to get one before it imports anything
        try:
            for _ in range(self.size):
                ours, theirs = spawn.Pipe()
                process = spawn.Process(target=_work, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                self.members.append((ours, process))
        finally:
            os.environ.clear()
            os.environ.update(before)

    def call(self, count: int, name: str, method: str, *args, own=lambda place: ()) -> list:
        """Tells the first `count` members at once; their answers when all have answered.

        `own` gives each member's own arguments, after `args`, by its place.

        Raises:
          RuntimeError: what a member raised, or that it is gone; then the others are ended too, and all begin anew.
        """
        if not self.members:
            try:
                return [_obey(self.held, name, method, *args, *own(0))]
            except Exception as error:
                raise _plain(error) from error
        pipes = [pipe for pipe, _ in self.members[:count]]
        try:
            for place, pipe in enumerate(pipes):
                pipe.send((name, method, *args, *own(place)))
            answers = [pipe.recv() for pipe in pipes]
        except (EOFError, ConnectionError):
            self.close()
            self._start()
            raise RuntimeError("a process of the rival is gone, perhaps for want of memory") from None
        if failed := [answer for answer in answers if isinstance(answer, Exception)]:
            raise failed[0]
        return answers

    def drop(self, name: str) -> None:
        """Every member forgets what it holds under a name, and gives its memory back."""
        self.call(self.size, name, "drop")

    def close(self) -> None:
        """Ends the processes."""
        for pipe, _ in self.members:
            pipe.close()
        for _, process in self.members:
            process.join(10)
            if process.is_alive():
                process.terminate()
        self.members, self.held = [], {}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Remote:
    """A rival in a team: runs side by side, a share of them in each process that its choice asks for."""

    def __init__(self, case: Case, choice: Choice, team: Team, name: str, seed: int = 0):
        self.team, self.name, self.processes = team, name, choice.processes if team.size else 1
        each = case.runs // self.processes if choice.library == "vmap" else 1
        self.runs, self.batch = each * self.processes, choice.batch or case.batch
        self.chunk = 1
        team.call(self.processes, name, "build", case, choice, each, own=lambda place: (place, seed + each * place))

    def warm(self) -> None:
        """Allocates, compiles and fills the caches."""
        self.work(3)

    def work(self, steps: int) -> None:
        """So many steps of every run; returns when they are done."""
        self.team.call(self.processes, self.name, "work", steps)

    def accuracies(self) -> list[float]:
        """Of every run, on the test set."""
        return [one for found in self.team.call(self.processes, self.name, "accuracies") for one in found]

    def drop(self) -> None:
        """Lets its memory go."""
        self.team.drop(self.name)


def _plain(error: Exception) -> RuntimeError:
    """What any process can unpickle, whatever it has installed."""
    return RuntimeError(f"{type(error).__name__}: {error}")


def _obey(held: dict, name: str, method: str, *args):
    if method == "build":
        held.pop(name, None)  # its memory first
        module, _, kind = LIBRARIES[args[1].library].partition(":")
        held[name] = getattr(importlib.import_module(f"benchmarks.rivals.{module}"), kind)(*args)
    elif method == "drop":
        held.pop(name, None)
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # glibc's: it keeps what is freed for itself
            ctypes.CDLL(None).malloc_trim(0)
    else:
        return getattr(held[name], method)(*args)
    return None


def _work(pipe) -> None:
    held = {}
    while True:
        try:
            message = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(_obey(held, *message))
        except Exception as error:
            pipe.send(_plain(error))
