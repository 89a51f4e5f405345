"""SIGINT and SIGTERM as a request to stop soon, not as an exception somewhere. A leaf."""

import signal
import threading


class Signals:
    """Turns SIGINT and SIGTERM into a note to stop at the next chunk; a second one acts at once."""

    def __init__(self):
        self.received = 0  # the signal's number, once there was one

    def __enter__(self):
        self._old = {}
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._old[signum] = signal.signal(signum, self._note)
        return self

    def _note(self, signum, frame):
        self.received = signum
        signal.signal(signum, self._old[signum])

    def __exit__(self, *exc):
        for signum, handler in self._old.items():
            signal.signal(signum, handler)
