"""Processes forked off one that has imported everything: they begin in milliseconds, and are as new in all else."""

import multiprocessing
import threading
import time
from collections.abc import Callable

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["benchmarks.faults.at", "fmnist_jax.answer", "fmnist_jax.report.page", "tensorboardX"])
POLL = 0.01  # seconds
# Whenever multiprocessing starts a child it asks after all the others, and of two that ask one is told nonsense.
_ASKING = threading.Lock()


class Fork:
    """A process at work on `target`(*args)."""

    def __init__(self, target: Callable, *args):
        self._process = CONTEXT.Process(target=target, args=args)
        with _ASKING:
            self._process.start()
        self.pid = self._process.pid

    @property
    def exitcode(self) -> int | None:
        """None before its end; of one that a signal killed, minus its number."""
        with _ASKING:
            return self._process.exitcode

    def join(self, seconds: float = float("inf")) -> None:
        """Waits for its end, but no longer than that."""
        deadline = time.monotonic() + seconds
        while self.exitcode is None and time.monotonic() < deadline:
            time.sleep(POLL)
