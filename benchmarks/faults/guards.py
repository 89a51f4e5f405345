"""Guards of the product, and a session without one of them: its faults must show, or their trials prove nothing."""

import contextlib
import fcntl
import shutil
from collections.abc import Callable

from fmnist_jax import checkpoint, signals, writers

WITHOUT = "FAULTS_WITHOUT"  # in the environment: which are taken out
GUARDS: dict[str, tuple[object, str, Callable]] = {
    "rows past the newest checkpoint are cut": (writers, "_trim", lambda path, last_step: None),
    "a session goes on from its checkpoint": (
        checkpoint.Checkpoints,
        "restore",
        lambda checkpoints, template: shutil.rmtree(checkpoints.directory, ignore_errors=True),
    ),
    "a signal waits until all is saved": (signals.Heard, "held", lambda heard: contextlib.nullcontext()),
    "one process at a time": (fcntl, "flock", lambda file, operation: None),
}


def take_out(name: str) -> None:
    """For good, in this process."""
    owner, attribute, instead = GUARDS[name]
    setattr(owner, attribute, instead)
