"""SIGINT and SIGTERM: what can be saved is saved, and within SECONDS the process has ended, whatever it was at. A leaf.

The first raises Interrupted where it finds Python, but where work that can be saved is `held`: there it is noted, for
the holder to save and to raise it. A second one, or a first that has met with nothing but compiled code for SECONDS,
ends the process on the spot; all that is written is written so that this loses no more than what is not saved yet.

Python's handlers wait for compiled code to return, which a compile of minutes does not: so a thread listens too, on a
pipe into which Python writes each signal when it comes.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

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
        self.seen = 0  # as soon as it comes, even where Python has not been asked yet
        self._held = 0

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
        """The handler, of the first signal; what a second one does, the thread sees to."""
        if not self.received:
            self.received = signum
            if not self._held:
                raise Interrupted(signum)


_heard: Heard | None = None  # while handlers of this module are in place


@contextlib.contextmanager
def listen() -> Iterator[Heard]:
    """Signals are heard within it, or within the outermost of several; in other threads than the main one, none."""
    global _heard
    if _heard or threading.current_thread() is not threading.main_thread():
        yield _heard or Heard()
        return
    _heard = Heard()
    ear, voice = os.pipe()
    os.set_blocking(voice, False)
    before = signal.set_wakeup_fd(voice, warn_on_full_buffer=False)
    thread = threading.Thread(target=_attend, args=(ear, _heard), name="signals", daemon=True)
    thread.start()
    old = {signum: signal.signal(signum, _heard.note) for signum in SIGNALS}
    try:
        yield _heard
    finally:
        _heard = None
        for signum, handler in old.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(before)
        os.close(voice)
        thread.join()
        os.close(ear)


def received() -> int:
    """The first signal's number, as soon as it comes; 0 before it."""
    return _heard.seen if _heard else 0


def pass_on(signum: int) -> None:
    """A signal that another host has got, to this process, unless it has got one itself."""
    if _heard and not _heard.seen:
        os.kill(os.getpid(), signum)


def _attend(ear: int, own: Heard) -> None:
    """Ends the process at a second signal, or SECONDS after the first; until nobody can write to `ear` any more."""
    first, deadline = 0, None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([ear], [], [], left)[0]:
            _end(first, f"stopped: nothing could be saved for {SECONDS:g} s")
        heard = os.read(ear, 1)
        if not heard:
            return
        if heard[0] in SIGNALS:
            if first:
                _end(heard[0], "stopped at once")
            first = own.seen = heard[0]
            deadline = time.monotonic() + SECONDS


def leave(status: int, words: str = "") -> NoReturn:
    """The end of a process that was stopped or has failed: at once, since Python's may wait for threads for ever."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    _say_and_exit(words, status)


def _end(signum: int, words: str) -> NoReturn:
    _say_and_exit(f"\n{words}; the same command goes on from the newest checkpoint\n", 128 + signum)


def _say_and_exit(words: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        print(words, end="", file=sys.stderr, flush=True)
    os._exit(status)
