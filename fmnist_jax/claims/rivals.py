"""Claims that one setting is the best, or the worst, of all."""

import dataclasses

import numpy as np

from fmnist_jax import tidy
from fmnist_jax.claims import outcomes, words
from fmnist_jax.claims.checking import WHEN
from fmnist_jax.claims.outcomes import Outcome
from fmnist_jax.claims.replicates import Cube, Missing, Results


def best(sign: int):
    """Tests of `best_is` (1) and `worst_is` (-1)."""

    def test(results: Results, claim: dict) -> Outcome:
        cube, names, diverged = _field(results, claim)
        sign_of_ahead = -sign if tidy.lower_is_better(claim["metric"]) else sign
        found = []
        for i, name in enumerate(names, start=1):
            if diverged[i]:
                continue  # no rival: nothing of it is left
            shared = cube.there[0] & cube.there[i]
            if not shared.any():
                raise Missing(f"no run with {name} has its like, in the other factors, with the setting in question")
            sample = cube.sample((cube.table[0] - cube.table[i])[shared])
            outcome = outcomes.directional(sample, sign_of_ahead, outcomes.difference(claim["metric"]))
            found.append(outcome.named(f"against {name}"))
        if not found:
            raise Missing("all runs of the other settings diverged")
        gone = words.count(int(diverged[1:].sum()), "other setting")
        extra = [f"{gone} diverged in every run and does not count"] if diverged[1:].any() else []
        chosen, nearest = outcomes.all_of(found), min(found, key=lambda outcome: abs(outcome.effect))
        if nearest.finding != chosen.finding:  # whose spread is less than that of one further off
            extra.insert(0, f"nearest in the mean, {nearest.told}")
        return dataclasses.replace(chosen, extra="; ".join(extra))

    return test


def _field(results: Results, claim: dict) -> tuple[Cube, list[str], np.ndarray]:
    """The cube with the claim's setting as level 0, the names of its rivals, and which levels [L] wholly diverged."""
    a = claim["a"]
    chosen = {results.key(name): wanted for name, wanted in a.items() if name not in WHEN}
    if not chosen:
        raise Missing("it names no factor whose values could compete")
    frame = results.rows({**claim["where"], **{k: v for k, v in a.items() if k in WHEN}}, claim["metric"])
    ours = np.all([frame[key].isin(results.values(key, wanted)) for key, wanted in chosen.items()], axis=0)
    if not ours.any() or ours.all():
        raise Missing("no run has its setting" if not ours.any() else "there is no other setting to compare it with")
    settings = frame.groupby(list(chosen), sort=False, dropna=False).ngroup().to_numpy()
    rivals, first, codes = np.unique(settings[~ours], return_index=True, return_inverse=True)
    names = [
        words.selection(row, results.labels) for row in frame.loc[~ours, list(chosen)].iloc[first].to_dict("records")
    ]
    level = np.zeros(len(frame), int)
    level[~ours] = 1 + codes
    well = np.bincount(level, ~frame["diverged"], minlength=1 + len(rivals))
    return results.cube(frame, level, chosen), names, well == 0
