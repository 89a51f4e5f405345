"""The two ways a command ends badly. Everything else is a bug and keeps its traceback."""


class UserError(Exception):
    """Bad input: one line that names the thing and the remedy. Exit status 2."""


class RunError(Exception):
    """A failure while running (out of memory, a broken checkpoint). Exit status 1."""


class StorageError(RunError):
    """Results cannot be written (disk full, read-only): no other group would fare better."""
