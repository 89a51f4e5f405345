"""A session in which something happens at a point: `python -m benchmarks.faults.at POINT NTH ACTION -- FLAGS of main`.

The NTH time that the process passes POINT it does ACTION to itself: dies (kill), gets a signal (term, int) or two
(term-term, int-int), stops until SIGCONT (stop), or enters compiled code that never returns and gets SIGTERM there
(deaf). $FAULTS_MARK names a file that is made then: where there is none, the point was not reached.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from benchmarks.faults.guards import WITHOUT, take_out
from benchmarks.faults.points import POINTS, Passing
from fmnist_jax import main

BETWEEN = 0.05  # seconds between two signals


def signal_itself(*signums: int) -> None:
    """The first at once, the others from a thread, as they come from outside."""
    first, *others = signums

    def send():
        for signum in others:
            time.sleep(BETWEEN)
            os.kill(os.getpid(), signum)

    threading.Thread(target=send, daemon=True).start()
    os.kill(os.getpid(), first)


def fall_deaf() -> None:
    """Compiled code that never returns, and SIGTERM while it is there: Python's handlers have no chance."""
    threading.Timer(BETWEEN, os.kill, (os.getpid(), signal.SIGTERM)).start()
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # no signal interrupts this


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: signal_itself(signal.SIGKILL),
    "term": lambda: signal_itself(signal.SIGTERM),
    "int": lambda: signal_itself(signal.SIGINT),
    "term-term": lambda: signal_itself(signal.SIGTERM, signal.SIGTERM),
    "int-int": lambda: signal_itself(signal.SIGINT, signal.SIGINT),
    "stop": lambda: signal_itself(signal.SIGSTOP),
    "deaf": fall_deaf,
}


def session(flags: list[str], point: str | None = None, nth: int = 1, action: str = "kill") -> None:
    """The command of main, in this process, which ends."""
    if guard := os.environ.get(WITHOUT):
        take_out(guard)
    if point:
        POINTS[point](Passing(nth, ACTIONS[action]), setattr)
    sys.argv = [main.__file__, *flags]
    main.run()


if __name__ == "__main__":
    split = sys.argv.index("--")
    point, nth, *action = sys.argv[1:split]
    session(sys.argv[split + 1 :], point, int(nth), *action)
