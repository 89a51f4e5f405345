"""Claims about two sides, a and b, paired by replicate and by the settings that neither side names."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from fmnist_jax import stats
from fmnist_jax.claims import outcomes
from fmnist_jax.claims.checking import WHEN
from fmnist_jax.claims.outcomes import Outcome
from fmnist_jax.claims.replicates import Cube, Missing, Results, Sample


def sides(
    results: Results, claim: dict, *, folds: bool = True, change: Callable = lambda frame: frame
) -> tuple[Cube, np.ndarray, np.ndarray]:
    """The cube of both sides, and the values [C, R] of a and of b in the cells that both have.

    `change` is done to the rows of a side first; without `folds` replicates are seeds.

    Raises:
      Missing: no run of one side has its like on the other.
    """
    a, b = claim["a"], claim["b"]
    compared = {results.key(name) for name in (*a, *b)} - set(WHEN)
    metrics = (claim["metric"], claim.get("b_metric") or claim["metric"])
    asked = zip((a, b), metrics, strict=True)
    frames = [change(results.rows({**claim["where"], **side}, metric)) for side, metric in asked]
    level = np.repeat([0, 1], [len(frame) for frame in frames])
    cube = results.cube(pd.concat(frames, ignore_index=True), level, compared, folds=folds)
    shared = cube.there.all(0)
    if not shared.any():
        others = ", ".join(results.labels.get(key, key) for key in results.others(compared))
        raise Missing(f"no run of one side is like one of the other in {others}; name these in both, or compare arms")
    return cube, cube.table[0, shared], cube.table[1, shared]


def difference(results: Results, claim: dict) -> Sample:
    """a - b, a number a replicate."""
    cube, a, b = sides(results, claim)
    return cube.sample(a - b)


def greater(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.greater`."""
    return outcomes.directional(difference(results, claim), 1, outcomes.difference(claim["metric"]), claim["by"])


def less(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.less`."""
    return outcomes.directional(difference(results, claim), -1, outcomes.difference(claim["metric"]), -claim["by"])


def differ(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.differ`."""
    return outcomes.directional(difference(results, claim), 0, outcomes.difference(claim["metric"]))


def equivalent(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.equivalent`."""
    return outcomes.within(difference(results, claim), claim["within"], outcomes.difference(claim["metric"]))


def spreads_more(results: Results, claim: dict) -> Outcome:
    """The test takes the sides for independent; runs that share a seed are not quite, which makes it cautious."""
    cube, a, b = sides(results, claim)
    sample = cube.sample(a - b)
    rows, columns = cube.kept(a - b)
    a, b = (side[np.ix_(rows, columns)].mean(0) for side in (a, b))
    found = stats.log_sd_ratio(a, b)
    ratio, low, high = np.exp([found.mean, found.low, found.high])
    return Outcome(
        finding=f"the standard deviation with the first is {ratio:.2f} times that with the second",
        interval=f"95% interval {low:.2f} to {high:.2f}",
        supports=bool(ratio > 1),
        effect=ratio,
        low=low,
        high=high,
        p=found.p,
        n=len(a),
        noun=sample.noun,
        cost=sample.cost,
    )
