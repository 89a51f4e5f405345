"""SIGINT and SIGTERM: what can be saved is saved, and within SECONDS the process has ended, whatever it was at. A leaf.

The first raises Interrupted where it finds Python, but where work that can be saved is `held`: there it is noted, for
the holder to save and to raise it. A second one, or a first that has met with nothing but compiled code for SECONDS,
ends the process on the spot; all that is written is written so that this loses no more than what is not saved yet.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

SECONDS = 20.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked to stop; everything is saved. No Exception, so that nothing takes it for a failure of its own."""

    def __init__(self, signum: int, step: int | None = None):
        at = "" if step is None else f" at step {step:,}"
        super().__init__(f"stopped{at}, all saved; the same command goes on from there")
        self.signum = signum


class Heard:
    """What this process has been told: `received` is the first signal's number, 0 before it."""

    def __init__(self):
        self.received = 0
        self._held = 0
        self._patience: threading.Timer | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within it a signal is only noted; it is raised at the end, if nobody has raised it before."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self.received and not self._held:
            raise Interrupted(self.received)

    def note(self, signum: int, frame=None) -> None:
        """The handler."""
        if self.received:
            _end(signum, "stopped at once")
        self.received = signum
        self._patience = threading.Timer(SECONDS, _end, (signum, f"stopped: nothing could be saved for {SECONDS:g} s"))
        self._patience.daemon = True
        self._patience.start()
        if not self._held:
            raise Interrupted(signum)

    def forget(self) -> None:
        """Nobody waits any more for this process to end."""
        if self._patience:
            self._patience.cancel()


_heard: Heard | None = None  # while handlers of this module are in place


@contextlib.contextmanager
def listen() -> Iterator[Heard]:
    """Signals are heard within it, or within the outermost of several; in other threads than the main one, none."""
    global _heard
    if _heard or threading.current_thread() is not threading.main_thread():
        yield _heard or Heard()
        return
    _heard = Heard()
    old = {signum: signal.signal(signum, _heard.note) for signum in SIGNALS}
    try:
        yield _heard
    finally:
        _heard.forget()
        _heard = None
        for signum, handler in old.items():
            signal.signal(signum, handler)


def _end(signum: int, words: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"\n{words}; the same command goes on from the newest checkpoint", file=sys.stderr, flush=True)
    os._exit(128 + signum)
