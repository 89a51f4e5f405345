"""The events of a simulated fleet, in order: waits that end, hosts that are preempted and come back."""

import heapq
import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from benchmarks.fleet import model as fleet_model
from benchmarks.fleet import process as fleet_process
from benchmarks.fleet.model import CAUSES, LOST, TRAINING, Costs, Disk, Fleet, Host, Outcome, Work
from benchmarks.fleet.pool import Pool
from benchmarks.server import Server

NO_LIMITS = Disk()


def simulate(
    work: Work,
    costs: Costs,
    fleet: Fleet,
    disk: Disk = NO_LIMITS,
    seed: int = 0,
    preempted: Sequence[tuple[float, int]] = (),
    until: float = math.inf,
    most: float = math.inf,
) -> Outcome:
    """What a study takes.

    Args:
      preempted: (second, host) beside those that are drawn.
      seed: of the preemptions; those of a host are its own, and the same whatever anything costs.
      until, most: give up after so many seconds, or so many preemptions; then `Outcome.seconds` is infinite.
    """
    return Simulation(work, costs, fleet, disk, np.random.SeedSequence(seed), preempted).run(until, most)


class Simulation:
    """One study on one fleet.

    Attributes:
      done: of every group, how many segments are in a whole checkpoint.
      training: whether there is a group that is not trained; none is tested before.
      compiled: programs that some host has compiled, of what and of which groups.
      made: the share of the groups that is there to be taken up; whoever has the turn makes the rest.
      concluder: who writes the tables, now that all is tested.
    """

    def __init__(
        self,
        work: Work,
        costs: Costs,
        fleet: Fleet,
        disk: Disk,
        seeds: np.random.SeedSequence,
        preempted: Sequence[tuple[float, int]] = (),
    ):
        self.work, self.costs, self.fleet = work, costs, fleet
        self._disk = Server(disk.bytes, disk.bytes_each)
        self._operations = Server(disk.operations, disk.operations_each)
        self.now, self.ended, self._trained_at = 0.0, math.inf, math.inf
        self._spent = dict.fromkeys(CAUSES, 0.0)
        self.pool = Pool(work.groups, costs, fleet, self._spent)
        self.hosts = [Host(i, np.random.default_rng(own)) for i, own in enumerate(seeds.spawn(fleet.hosts))]
        self.done, self._ends = [0.0] * work.groups, [0] * work.groups
        self.trained = self.tested = self._preemptions = 0
        self.training = True
        self.made, self.compiled, self.concluder = 0.0, set(), None
        self._turns: deque[tuple[Host, int]] = deque()
        self._turn: Host | None = None
        self._granted = 0.0  # when
        self._given_up: str | None = None
        self._held = 0.0  # seconds of hosts that were there and are gone
        self._events: list[tuple] = []  # (time, number, what, host, version)
        self._numbers = 0
        for at, index in preempted:
            self._push(at, self._preempt, self.hosts[index], None)

    def run(self, until: float, most: float) -> Outcome:
        """From the start of all hosts to the answer."""
        for host in self.hosts:
            self._start(host)
        while math.isinf(self.ended):
            sources = (
                self._events[0][0] if self._events else math.inf,
                self._operations.next(),
                self._disk.next(),
                self.pool.next(self.trained, self._operations),
            )
            soonest = min(sources)
            if self._preemptions > most:
                self._given_up = fleet_model.TOO_MANY_PREEMPTIONS
            elif math.isinf(soonest) or soonest > until:
                self._given_up = fleet_model.TOOK_TOO_LONG
            if self._given_up:
                break
            self.now = max(self.now, soonest)
            self._happen(sources.index(soonest))
        return self._outcome()

    def _happen(self, source: int) -> None:
        if source == 0:
            _, _, what, host, version = heapq.heappop(self._events)
            what(host, version)
        elif source == 3:
            host = self.pool.wake(self.now)
            self.pool.weigh(self.now, self.trained, self._operations)
            self._next(host)
        else:
            host, saving = (self._operations if source == 1 else self._disk).pop()
            self._commit(host) if saving else self._resume(host, host.version)

    def _outcome(self) -> Outcome:
        self.pool.settle(self.now)
        for host in self.hosts:
            if host.life is not None:
                if host not in self.pool.parked:
                    self._account(host)
                self._spent[TRAINING] += host.unsaved  # of a study that was given up
                self._held += self.now - host.born
        devices = self.fleet.devices
        spent = {cause: seconds * devices for cause, seconds in self._spent.items()}
        counts = self._preemptions, self.pool.takeovers, tuple(self._ends)
        return Outcome(self.ended, self._trained_at, spent, self._held * devices, *counts, self._given_up)

    def save(self, host: Host, segments: float) -> None:
        """Sends a checkpoint of a host's group on its way."""
        host.saving = 0, segments, host.unsaved
        if self._disk.instant or not self.costs.checkpoint_bytes:
            return self._commit(host)
        job = self._disk.add(self.now, self.costs.checkpoint_bytes, (host, True))
        host.saving = job, segments, host.unsaved

    def finish(self, host: Host) -> None:
        """A host's group is at its end."""
        self._ends[host.group] += 1
        self.trained += 1
        host.trained[host.group] = None
        self.pool.done(host)
        if self.trained == self.work.groups:
            self._trained_at, self.training = self.now, False
            if self.costs.test:
                self.pool.fill(self.now)
            else:
                self.tested = self.work.groups

    def finish_test(self, host: Host) -> None:
        """A host's group has read the test set."""
        self.tested += 1
        self.pool.done(host)

    def _push(self, at: float, what, host: Host, version: int | None) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (at, self._numbers, what, host, version))

    def _start(self, host: Host, version: int | None = None) -> None:
        host.starts(self.now, fleet_process.life(self, host))
        if self.fleet.preemptions:
            lasts = host.chance.exponential(3600 / self.fleet.preemptions)
            self._push(self.now + lasts, self._preempt, host, host.lives)
        self._next(host)

    def _resume(self, host: Host, version: int) -> None:
        """A wait is over, if it is still the one that it was."""
        if version == host.version:
            self._account(host)
            self._next(host)

    def _next(self, host: Host) -> None:
        """What a process does until it has to wait."""
        for kind, amount, cause in host.life:
            host.since, host.cause, host.job = self.now, cause, None
            host.version += 1
            server = {"operations": self._operations, "transfer": self._disk}.get(kind)
            if kind == "sleep" and amount:
                self._push(self.now + amount, self._resume, host, host.version)
            elif server and amount and not server.instant:
                host.job = server, server.add(self.now, amount, (host, False))
            elif kind == "saved" and host.saving:
                host.waits = True
            elif kind == "turn" and (self.costs.begin or self.costs.make):
                self._turns.append((host, host.version))
                self._next_turn()
            elif kind == "park":
                self.pool.park(host, self.now)
                self.pool.weigh(self.now, self.trained, self._operations)
            else:
                continue  # it takes no time
            return

    def _next_turn(self) -> None:
        while self._turn is None and self._turns:
            host, version = self._turns.popleft()
            if version == host.version:
                self._turn, self._granted = host, self.now
                seconds = self.costs.begin + self.costs.make * (1 - self.made)
                self._push(self.now + seconds, self._turned, host, version)

    def _turned(self, host: Host, version: int) -> None:
        if version == host.version:
            self._turn, self.made = None, 1.0
            self._next_turn()
            self._resume(host, version)

    def _commit(self, host: Host) -> None:
        """A checkpoint is whole."""
        _, self.done[host.group], seconds = host.saving
        self._spent[TRAINING] += seconds
        host.unsaved -= seconds
        host.saving = None
        if host.waits:
            host.waits = False
            self._resume(host, host.version)

    def _account(self, host: Host) -> None:
        seconds, host.since = self.now - host.since, self.now
        if host.cause == TRAINING:
            host.unsaved += seconds  # it is training, or lost, when that is known
        else:
            self._spent[host.cause] += seconds

    def _preempt(self, host: Host, life: int | None) -> None:
        """Takes a host away, if its process is still the one that it was; None: whichever there is."""
        if host.life is None or life not in (None, host.lives):
            return
        self._preemptions += 1
        if host in self.pool.parked:
            self.pool.unpark(host, self.now)
            self.pool.weigh(self.now, self.trained, self._operations)
        else:
            self._account(host)
        self._let_go(host)
        host.life.close()
        host.life = None
        host.version += 1
        self._held += self.now - host.born
        self._push(self.now + self.fleet.back, self._start, host, None)
        if self._turn is host:
            if self.costs.make:  # what it has made of the groups stays
                since = max(0.0, self.now - self._granted - self.costs.begin)
                self.made = min(1.0, self.made + since / self.costs.make)
            self._turn = None
            self._next_turn()
        if self.concluder is host:
            self._pass_on()

    def _let_go(self, host: Host) -> None:
        """Of all that it had."""
        if host.job:
            server, job = host.job
            server.remove(self.now, job)
        if host.saving:
            self._disk.remove(self.now, host.saving[0])
        if host.group is None:
            return
        fleet = self.fleet
        if fleet.notice:
            self._spent[TRAINING] += host.unsaved
            self.done[host.group] += host.unsaved / self.costs.segment if self.costs.segment else 0.0
        else:
            self._spent[LOST] += host.unsaved
        silent = None if fleet.notice else self.now - host.chance.uniform(0, fleet.beat)
        self.pool.drop(host.group, self.now, silent)

    def _pass_on(self) -> None:
        """Who waits longest concludes."""
        self.concluder = None
        if self.pool.parked:
            host = next(iter(self.pool.parked))
            self.pool.unpark(host, self.now)
            self._next(host)
