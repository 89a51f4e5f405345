"""Work that may fail without the study failing: what goes wrong is kept, as the group's failure."""

import time
import traceback

from fmnist_jax import hosts, leases, testing
from fmnist_jax.errors import RunError, StorageError, UserError


class Attempt:
    """What goes wrong inside is kept, as the group's failure, unless nothing else would fare better."""

    def __init__(self):
        self.failure: dict | None = None
        self.out_of_memory = False

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> bool:
        passed_on = (leases.Lost, testing.Outdated, StorageError, OSError)
        if not isinstance(error, Exception) or isinstance(error, passed_on):
            return False
        self.out_of_memory = hosts.out_of_memory(error)
        text = " ".join(str(error).split()) or type(error).__name__
        text = text if isinstance(error, (RunError, UserError)) else f"{type(error).__name__}: {text}"
        if self.out_of_memory:
            text = "out of memory with one run alone; take a smaller train.batch_size or evaluation.batch_size"
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self.failure = {"error": text, "traceback": "".join(traceback.format_exception(error)), "at": at}
        return True
