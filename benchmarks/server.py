"""A server whose clients share it, as those of a disk do: each gets as much as the others, and no more than its most.

Times are of a simulation's clock, which its user keeps. A leaf.
"""

import heapq
import math
from typing import Any


class Server:
    """Jobs of some units (bytes, operations), served side by side.

    Attributes:
      others: clients beside the jobs that ask all the while, and get their shares too; 1.5 stands for one that always
        asks, and one that does half of the time.
    """

    def __init__(self, rate: float = math.inf, each: float = math.inf):
        """`rate`: units a second of all clients together; `each`: the most that one of them gets."""
        self.rate, self.each, self.others = rate, each, 0.0
        self._now = self._served = 0.0  # units that every job has had which was there from the first
        self._ends: list[tuple[float, int]] = []  # (served when it will be done, job)
        self._jobs: dict[int, Any] = {}
        self._made = 0

    @property
    def instant(self) -> bool:
        """Whether no job takes any time."""
        return math.isinf(self.rate) and math.isinf(self.each)

    @property
    def speed(self) -> float:
        """Units a second that a job gets now."""
        return self.speed_of(max(1.0, len(self._jobs) + self.others))

    def speed_of(self, clients: float) -> float:
        """Units a second that each of so many gets."""
        return min(self.each, self.rate / clients)

    def add(self, now: float, units: float, token) -> int:
        """A job that begins now; `pop` gives its token back. Returns what `remove` asks for."""
        self.advance(now)
        self._made += 1
        self._jobs[self._made] = token
        heapq.heappush(self._ends, (self._served + units, self._made))
        return self._made

    def remove(self, now: float, job: int) -> None:
        """A job that is given up; nothing, if it is done."""
        self.advance(now)
        self._jobs.pop(job, None)

    def next(self) -> float:
        """When the next job will be done, if none comes or goes; infinity where there is none."""
        while self._ends and self._ends[0][1] not in self._jobs:
            heapq.heappop(self._ends)
        return self._now + max(0.0, self._ends[0][0] - self._served) / self.speed if self._ends else math.inf

    def pop(self):
        """The token of the job that is done at `next`."""
        self.advance(self.next())
        end, job = heapq.heappop(self._ends)
        self._served = end
        return self._jobs.pop(job)

    def advance(self, now: float) -> None:
        """Serves until now; before anything changes."""
        self._served = self._served + (now - self._now) * self.speed if self._jobs else 0.0
        if not self._jobs:
            self._ends.clear()  # of jobs that were given up; what is to come counts from nothing
        self._now = now
