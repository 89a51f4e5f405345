"""Claims about failing runs, and about interactions: what is told by counting, or by analysis of variance."""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import beta, binomtest
from statsmodels.stats.proportion import proportion_confint

from fmnist_jax import stats
from fmnist_jax.claims import outcomes, pairs
from fmnist_jax.claims.outcomes import Outcome
from fmnist_jax.claims.replicates import Missing, Results


def fails(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.fails`."""
    frame = _failed(claim)(results.rows(claim["where"], claim["metric"]))
    cube = results.cube(frame, np.zeros(len(frame), int), (), folds=False)
    sample = cube.sample(cube.table[0])
    n, share = len(sample.numbers), claim["share"]
    failures = float(sample.numbers.sum())  # in whole seeds' worth of runs
    low, high = proportion_confint(failures, n, method="beta")
    # The binomial tails as a beta distribution, which also knows parts of a seed.
    more = beta.cdf(share, failures, n - failures + 1) if failures else 1.0
    less = beta.sf(share, failures + 1, n - failures) if failures < n else 1.0
    arms = int(cube.kept(cube.table[0])[0].sum())
    return Outcome(
        finding=f"{100 * failures / n:.3g}% of runs fail" + (f", over {arms} arms" if arms > 1 else ""),
        interval=f"95% interval {100 * low:.0f} to {100 * high:.0f}%",
        supports=failures / n > share,
        effect=failures / n,
        low=float(low),
        high=float(high),
        p=float(min(1.0, 2 * min(more, less))),
        n=n,
        noun=sample.noun,
        cost=sample.cost,
    )


def fails_more(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.fails_more`."""
    cube, a, b = pairs.sides(results, claim, folds=False, change=_failed(claim))
    sample = cube.sample(a - b)
    more, less = int((sample.numbers > 0).sum()), int((sample.numbers < 0).sum())
    mean = float(sample.numbers.mean())
    return Outcome(
        finding=f"the share of failures differs by {100 * mean:.3g} points, upwards in {more} and downwards in {less}",
        interval="",
        supports=more > less,
        effect=mean,
        low=np.nan,
        high=np.nan,
        p=float(binomtest(more, more + less).pvalue) if more + less else 1.0,
        n=len(sample.numbers),
        noun=sample.noun,
        cost=sample.cost,
    )


def _failed(claim: dict):
    """Rows with `value` 1 of a failed run and 0 of another; a diverged run counts, and so is not one left out."""
    below = -np.inf if claim["below"] is None else claim["below"]
    above = np.inf if claim["above"] is None else claim["above"]

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        beyond = (frame["value"] < below) | (frame["value"] > above) | frame["diverged"]
        known = frame["value"].notna() | frame["diverged"]
        return frame.assign(value=beyond.astype("float64").where(known), diverged=False)

    return change


def interacts(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.interacts`."""
    frame = results.rows(claim["where"], claim["metric"])
    keys = dict.fromkeys(results.key(name) for name in claim["factors"])
    return outcomes.any_of([_interaction(results, frame, *pair) for pair in itertools.combinations(keys, 2)])


def _interaction(results: Results, frame: pd.DataFrame, f: str, g: str) -> Outcome:
    label = " and ".join(results.labels.get(key, key) for key in (f, g))
    rows, columns = (pd.factorize(frame[key], use_na_sentinel=False)[0] for key in (f, g))
    shape = rows.max() + 1, columns.max() + 1
    if min(shape) < 2:
        raise Missing(f"{label} do not both take two values or more")
    cube = results.cube(frame, rows * shape[1] + columns, {f, g}, folds=False)
    whole = cube.there.all(0) if len(cube.there) == shape[0] * shape[1] else np.zeros(1, bool)
    if not whole.any():
        raise Missing(f"{label} do not make a complete grid; narrow it with where")
    grids = cube.table[:, whole]  # [combinations, C, seeds]
    sample = cube.sample(grids.sum(0))  # a grid counts where it has no gap
    values = grids[:, *np.ix_(*cube.kept(grids.sum(0)))].mean(1)
    i, seed = np.indices(values.shape).reshape(2, -1)
    table = pd.DataFrame({"f": i // shape[1], "g": i % shape[1], "seed": seed, "value": values.ravel()})
    found = stats.anova(table, "value", ["f", "g"], block="seed").set_index("term").loc["f × g"]
    return Outcome(
        finding=f"the interaction of {label} makes up {100 * found['share']:.3g}% of the variance",
        interval="",
        supports=True,
        effect=float(found["share"]),
        low=np.nan,
        high=np.nan,
        p=float(found["p"]),
        n=len(sample.numbers),
        noun=sample.noun,
        cost=sample.cost,
    )
