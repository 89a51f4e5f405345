"""Who else is at work on this machine: what of its cores the processes of others had while something was measured."""

import os
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

QUIET = 0.10  # of all cores: more of others' work than this disturbs
LOOK_SECONDS = 2.0
WORKING = ("user", "nice", "system", "irq", "softirq", "steal")
FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class Neighbours:
    """Others' work since this was made; this process's own children, once they have ended, are no others."""

    def __init__(self):
        self._start = _now()

    def share(self) -> float:
        """Of all cores' time; what a hypervisor gave to other machines counts too."""
        wall, busy, own = (now - then for now, then in zip(_now(), self._start, strict=True))
        return min(1.0, max(0.0, busy - own) / (wall * os.cpu_count()))


def undisturbed(turns: Sequence[Mapping]) -> list[Mapping]:
    """Those of {"others": their share} during which the processes of others had next to nothing of the cores."""
    return [one for one in turns if one.get("others", 0.0) <= QUIET]


def best(turns: Sequence[Mapping]) -> list[Mapping]:
    """The undisturbed ones; where there are none, the one that was least disturbed."""
    return undisturbed(turns) or sorted(turns, key=lambda turn: turn.get("others", 0.0))[:1]


def _now() -> tuple[float, float, float]:
    """Seconds: of the clock, of all cores at work, and of this process and the children that it has waited for."""
    ticks = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    counted = dict(zip(FIELDS, map(int, ticks), strict=False))
    busy = sum(counted[name] for name in WORKING) / os.sysconf("SC_CLK_TCK")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), busy, sum(one.ru_utime + one.ru_stime for one in used)


def wait(seconds: float) -> None:
    """Until the others are quiet, but no longer than so many seconds."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        since = Neighbours()
        time.sleep(LOOK_SECONDS)
        if since.share() <= QUIET:
            return
