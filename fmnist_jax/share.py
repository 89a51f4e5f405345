"""How a process shares a study with others that its machine does not know of: all of it, a share, or what is free."""

import dataclasses
import re

from fmnist_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Share:
    """Which groups of a study a process trains.

    Attributes:
      shard: (i, n): the runs that are its i-th share of n, by the work they are.
      claim: those that no other process has taken, one after the other.
    """

    shard: tuple[int, int] | None = None
    claim: bool = False

    @property
    def alone(self) -> bool:
        """Whether no other process may work in the workdir."""
        return self.shard is None and not self.claim

    def __str__(self) -> str:
        return "--claim" if self.claim else f"--shard={self.shard[0]}/{self.shard[1]}" if self.shard else "all of it"


ALONE = Share()


def parse(shard: str | None, claim: bool) -> Share:
    """Of the flags --shard=I/N and --claim.

    Raises:
      UserError: of what is no share, or of both.
    """
    if shard is None:
        return Share(claim=claim)
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not i < n:
        raise UserError(f"--shard={shard}: must be I/N, the I-th of N shares, from 0/N to N-1/N")
    if claim:
        raise UserError("--shard with --claim: take one; --claim finds its share itself")
    return Share(shard=(i, n))
