"""Guards of the product, and a session without one of them: its faults must show, or their trials prove nothing."""

import contextlib
import fcntl
from collections.abc import Callable

from fmnist_jax import checkpoint, program_cache, signals, writers

WITHOUT = "FAULTS_WITHOUT"  # in the environment: which are taken out
GUARDS: dict[str, tuple[object, str, Callable]] = {
    "rows past the newest checkpoint are cut": (writers, "_trim", lambda path, last_step: None),
    "a session goes on from its checkpoint": (checkpoint.Checkpoints, "find", lambda checkpoints: None),
    "a signal waits until all is saved": (signals.Heard, "held", lambda heard: contextlib.nullcontext()),
    "compiled programs are written whole": (program_cache, "write_whole", lambda: None),
    "one process at a time": (fcntl, "flock", lambda file, operation: None),
}


def take_out(name: str) -> None:
    """For good, in this process."""
    owner, attribute, instead = GUARDS[name]
    setattr(owner, attribute, instead)
