"""How samples are taken: as long as was asked, and in turns, so that a machine that slows down does so for all."""

import functools
import time
from collections.abc import Callable, Hashable, Mapping

import numpy as np


def steps_in(seconds: float, seconds_of: Callable[[int], float], chunk: int = 1) -> tuple[int, float]:
    """(Steps that take about `seconds`, what one takes), found in no more than that or in one chunk.

    Args:
      seconds_of: the time of so many steps, all that compiles having been compiled.
      chunk: of what the steps are a multiple.
    """
    steps = chunk
    while (took := seconds_of(steps)) < seconds / 3:
        steps *= int(np.clip(seconds / 2 / took, 2, 50))
    return max(1, round(seconds * steps / took / chunk)) * chunk, took / steps


def seconds_of(contender, steps: int) -> float:
    """Wall time of `steps` steps."""
    start = time.perf_counter()
    contender.work(steps)
    return time.perf_counter() - start


def probe(contender, seconds: float) -> tuple[float, int]:
    """(images/s, steps that take about `seconds`)."""
    contender.warm()
    steps, each = steps_in(seconds, functools.partial(seconds_of, contender), contender.chunk)
    return contender.batch * contender.runs / each, steps


def in_turns(
    ways: Mapping[Hashable, Callable[[], float]], turns: int | Mapping[Hashable, int]
) -> dict[Hashable, list[float]]:
    """What each of `ways` returned in each turn; some may have fewer turns than others, the first ones.

    Every second turn goes backwards, and every second begins with another way: none always follows the same one.
    """
    names = list(ways)
    allowed = turns if isinstance(turns, Mapping) else dict.fromkeys(names, turns)
    samples: dict[Hashable, list[float]] = {name: [] for name in names}
    for turn in range(max(allowed.values(), default=0)):
        first = turn // 2 % len(names)
        order = names[first:] + names[:first]
        for name in order if turn % 2 == 0 else order[::-1]:
            if turn < allowed[name]:
                samples[name].append(ways[name]())
    return samples
