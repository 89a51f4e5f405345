"""Groups that nobody is at work on, and processes that wait for one, in a simulated fleet. A leaf."""

import heapq
import math
from bisect import bisect_left

from benchmarks.fleet.model import IDLE, LEASE, Costs, Fleet, Host
from benchmarks.server import Server

NOW = 1e-6  # seconds: what rounding may move


class Pool:
    """What there is to take, and who waits.

    Attributes:
      free: groups that nobody has taken yet, in order: to be trained, then to be tested.
      claimed: groups that have a claim and are not done: a look reads those.
      parked: process without a group -> since when, the longest first; they look every `poll` seconds.
      orphans: (silent since, group) of hosts that are gone, the longest first.
      released: (since when, group) of hosts that let go of theirs.
    """

    def __init__(self, groups: int, costs: Costs, fleet: Fleet, spent: dict[str, float]):
        self.groups, self.costs, self.fleet, self._spent = groups, costs, fleet, spent
        self.claimed = self.takeovers = 0
        self.parked: dict[Host, float] = {}
        self.orphans: list[tuple[float, int]] = []
        self.released: list[tuple[float, int]] = []
        self._settled = 0.0
        self.fill(0.0)

    def fill(self, now: float) -> None:
        """All groups are there to be taken, since now."""
        self.free, self._seen = dict.fromkeys(range(self.groups)), now

    def settle(self, now: float) -> None:
        """Books the time of those who wait; before anything changes."""
        seconds, self._settled = now - self._settled, now
        waiting = min(len(self.parked), len(self.orphans))
        self._spent[LEASE] += seconds * waiting
        self._spent[IDLE] += seconds * (len(self.parked) - waiting)

    def take(self, host: Host, now: float) -> None:
        """Gives a process that has just looked its group, if there is one for it; of the free, one it has trained."""
        self.settle(now)
        if self.released:
            host.group = heapq.heappop(self.released)[1]
        elif self.orphans and self._is_dead(host, self.orphans[0][0], now):
            self._take_over(host)
        elif self.free:
            self._take_free(host)

    def done(self, host: Host) -> None:
        """A host is done with its group, which is nobody's to take any more."""
        self.claimed -= 1
        host.group = None

    def drop(self, group: int, now: float, silent: float | None) -> None:
        """A host is gone that had a group: silent since then; None, if it let go of it."""
        self.settle(now)
        if silent is None:
            heapq.heappush(self.released, (now, group))
        else:
            heapq.heappush(self.orphans, (silent, group))

    def park(self, host: Host, now: float) -> None:
        """A process has found no group."""
        self.settle(now)
        self.parked[host] = now

    def unpark(self, host: Host, now: float) -> None:
        """It waits no more."""
        self.settle(now)
        del self.parked[host]

    def thought(self, trained: int) -> float:
        """Seconds of a host that a look takes which finds nothing new, when so many groups are trained."""
        return self.costs.look + self.costs.look_trained * trained

    def asked(self, trained: int) -> float:
        """Its operations on files."""
        costs = self.costs
        of_trained, of_held = costs.look_operations_trained, costs.look_operations_held
        return costs.look_operations + of_trained * trained + of_held * self.claimed

    def weigh(self, now: float, trained: int, disk: Server) -> None:
        """Who waits asks the disk, too, for as much of the time as its looks take of it."""
        if not disk.instant:
            took = self.asked(trained) / disk.speed_of(max(1.0, len(self.parked)))
            share = took / (took + self.thought(trained) + self.fleet.poll) if took else 0.0
            disk.advance(now)
            disk.others = share * len(self.parked)

    def next(self, trained: int, disk: Server) -> float:
        """When one of those who wait will get a group; infinity, where none will."""
        if not self.parked or not (self.released or self.orphans or self.free):
            return math.inf
        asking = 0.0 if disk.instant else self.asked(trained) / disk.speed
        period = self.fleet.poll + self.thought(trained) + asking  # from one look to the next
        seen = period / (1 + len(self.parked))  # by the first of them, after it has happened
        if self.released:
            return self.released[0][0] + seen
        if self.free:
            return self._seen + seen
        since, silent = next(iter(self.parked.values())), self.orphans[0][0]
        looks = math.ceil(self.fleet.lease / period) * period if period else self.fleet.lease
        return looks + (since if silent <= since else silent + seen)

    def wake(self, now: float) -> Host:
        """Gives the one that has waited longest its group."""
        host = next(iter(self.parked))
        self.unpark(host, now)
        if self.released:
            host.group = heapq.heappop(self.released)[1]
        elif self.free:
            self._take_free(host)
            self._seen = now
        else:
            self._take_over(host)
        return host

    def _take_free(self, host: Host) -> None:
        own = (group for group in host.trained if group in self.free)
        host.group = next(own, None)
        if host.group is None:
            host.group = next(iter(self.free))
        del self.free[host.group]
        self.claimed += 1

    def _take_over(self, host: Host) -> None:
        host.group = heapq.heappop(self.orphans)[1]
        self.takeovers += 1

    def _is_dead(self, host: Host, silent: float, now: float) -> bool:
        """Whether its process has seen a claim unchanged for the time of a lease."""
        first = bisect_left(host.looks, silent)
        return first < len(host.looks) and host.looks[first] + self.fleet.lease <= now + NOW
