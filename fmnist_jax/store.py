"""Where a workdir is: on a disk, where everything is in its place; `remote.Mirror` is the other kind, in a bucket.

A study works in a directory of this machine. Whoever shares the workdir with others looks before it decides, fetches
what it is to work on, and keeps what it has done; on a disk that they all see, each of these is nothing.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fmnist_jax import leases, workdir


class Disk:
    """A workdir on a disk."""

    def __init__(self, directory: Path):
        self.directory = directory

    def part(self, name: str) -> "Disk":
        """The workdir of a part of a paper."""
        return Disk(self.directory / name)

    def lock(self, shared: bool) -> contextlib.AbstractContextManager:
        """As `workdir.lock`."""
        return workdir.lock(self.directory, shared)

    def turn(self) -> contextlib.AbstractContextManager:
        """As `workdir.turn`."""
        return workdir.turn(self.directory)

    def watch(self) -> leases.Watch:
        """Of the claims of groups."""
        return leases.Watch()

    def look(self) -> None:
        """Brings what others say of their groups."""

    def fetch(self, directory: Path) -> None:
        """Brings all there is of a group."""

    @contextlib.contextmanager
    def working(self, directory: Path, claim: leases.Claim) -> Iterator[None]:
        """Within it a group is this process's. However it ends, what was done is kept, unless another has it now.

        Raises:
          Lost: another has it.
        """
        self._own(directory, claim.check)
        lost = False
        try:
            yield
            claim.check()
            self.keep()
        except leases.Lost:
            lost = True
            raise
        except BaseException:
            try:
                claim.check()
                self.keep()
            except leases.Lost:
                lost = True
            raise
        finally:
            self._give_up(directory, lost)

    def _own(self, directory: Path, check: Callable[[], None]) -> None:
        """It is this process's, as long as `check` does not raise Lost."""

    def _give_up(self, directory: Path, lost: bool) -> None:
        """It is not this process's any more."""

    def keep(self) -> None:
        """Sees to it that what this process has done is where the workdir is."""


def opened(place: str | Path) -> Disk:
    """A workdir on a disk, or in a bucket (gs://, s3://), whose directory here is below the user's cache.

    Raises:
      UserError: the bucket's library is not installed.
    """
    if not in_bucket(place):
        return Disk(Path(os.path.expanduser(place)))  # pathlib's own raises where there is no such user
    from fmnist_jax import remote  # fsspec takes a while to import

    return remote.Mirror(str(place))


def in_bucket(place: str | Path) -> bool:
    """Whether that is where a workdir is."""
    return "://" in str(place)
