"""Test accuracy beside speed: all contenders after equally many steps, each over as many seeds as a minute has."""

import contextlib
import math
import statistics
from collections.abc import Callable, Mapping

from benchmarks.cases import BFLOAT16, FLOAT32, OURS, Case

SECONDS = 60.0  # of a contender; all make as many steps as the slowest of PAYING has the time for
PAYING = (OURS, FLOAT32, BFLOAT16)
# Nets of `kunze` spread by 7 to 20 points over seeds: means of 8 lay 11 apart that are the same of 160.
MOST_STEPS, MOST_SEEDS, LEAST_SEEDS = 2000, 40, 3


def steps(case: Case, rates: Mapping[str, float], most: int = MOST_STEPS) -> int:
    """Steps that the slowest of PAYING makes in SECONDS, with the fewest seeds it may have; even, for plain Flax."""

    def affordable(name: str) -> float:
        seeds = case.runs if name == OURS else LEAST_SEEDS
        return SECONDS * rates[name] / (seeds * case.batch)

    fewest = min(most, *(affordable(name) for name in PAYING if name in rates))
    unit = 20 if fewest >= 20 else 2
    return max(2, math.floor(fewest / unit) * unit)


def measure(
    make: Callable, runs: int, case: Case, steps: int, rate: float, *, pays: bool, most: int = MOST_SEEDS
) -> dict | None:
    """Test accuracy after `steps` steps: {"mean", "sd", "n", "values"} of as many seeds as SECONDS has.

    They are at least LEAST_SEEDS, and the `runs` that a contender of `rate` images/s trains at once. None where that
    would take longer and the contender does not pay for it all the same; and of no steps.
    """
    least = max(LEAST_SEEDS, runs)
    affordable = int(SECONDS * rate / (steps * case.batch)) if steps else 0
    if not steps or (affordable < least and not pays):
        return None
    values: list[float] = []
    while len(values) < max(least, min(affordable, most)):
        with contextlib.ExitStack() as stack:
            contender = make(stack, len(values))
            contender.work(steps)
            values += contender.accuracies()
    return {"mean": statistics.mean(values), "sd": statistics.stdev(values), "n": len(values), "values": values}
