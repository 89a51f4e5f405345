"""Claims about how high a metric is, or which of two metrics is higher, in one set of runs."""

from collections.abc import Callable, Mapping

import numpy as np

from fmnist_jax import tidy
from fmnist_jax.claims import outcomes
from fmnist_jax.claims.outcomes import Outcome
from fmnist_jax.claims.replicates import Results, Sample

Test = Callable[[Mapping], Outcome]  # of a selector


def bound(sign: int):
    """Tests of `at_least` (1) and `at_most` (-1)."""

    def test(results: Results, claim: dict) -> Outcome:
        def of(where):
            quantity = outcomes.mean(claim["metric"])
            return outcomes.directional(_mean(results, where, claim["metric"]), sign, quantity, claim["value"])

        return _each(results, claim, of)

    return test


def about(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.about`."""

    def of(where):
        sample = _mean(results, where, claim["metric"])
        return outcomes.within(sample, claim["within"], outcomes.mean(claim["metric"]), claim["value"])

    return _each(results, claim, of)


def metric_greater(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.metric_greater`."""

    def of(where):
        a, b = (results.rows(where, claim[key]) for key in ("metric_a", "metric_b"))
        sample = _by_replicate(results, a.assign(value=a["value"] - b["value"]))
        return outcomes.directional(sample, 1, outcomes.difference(claim["metric_a"]), claim["by"])

    if claim["some"]:
        return outcomes.any_of(_of_every(results, claim, claim["some"], of))
    return _each(results, claim, of)


def _mean(results: Results, where: Mapping, metric: str) -> Sample:
    return _by_replicate(results, results.rows(where, metric))


def _by_replicate(results: Results, frame) -> Sample:
    cube = results.cube(frame, np.zeros(len(frame), int), ())
    return cube.sample(cube.table[0])


def _each(results: Results, claim: dict, of: Test) -> Outcome:
    if claim["each"]:
        return outcomes.all_of(_of_every(results, claim, claim["each"], of))
    return of(claim["where"])


def _of_every(results: Results, claim: dict, factor: str, of: Test) -> list[Outcome]:
    """The test of each value of `factor` alone, the finding headed by the value."""
    key = results.key(factor)
    metric = claim.get("metric_a", claim["metric"])
    values = dict.fromkeys(results.rows(claim["where"], metric)[key].tolist())
    label = results.labels.get(key, key)
    without = {name: wanted for name, wanted in claim["where"].items() if results.key(name) != key}
    return [of({**without, key: value}).named(f"with {label}={tidy.simple(value)}") for value in values]
