"""Claims about all values of a factor: whether they are alike, whether the metric follows them, where it turns."""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from fmnist_jax.claims import outcomes, words
from fmnist_jax.claims.checking import WHEN
from fmnist_jax.claims.outcomes import Outcome, Quantity
from fmnist_jax.claims.replicates import Cube, Missing, Results, same

MOST_PAIRS = 5000  # some seconds; and over more of them an intersection-union test tells nothing
SHOWN = 8  # values of a factor whose means a sentence can hold


def all_equivalent(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.all_equivalent`."""
    _, order, cube = _ordered(results, claim)
    if len(order) * (len(order) - 1) // 2 > MOST_PAIRS:
        raise Missing(f"{len(order)} values make too many pairs; narrow them with where")
    quantity, found = outcomes.difference(claim["metric"]), []
    for i, j in itertools.combinations(range(len(order)), 2):
        shared = cube.there[i] & cube.there[j]
        if not shared.any():
            raise Missing(f"no run with {order[i]} is like one with {order[j]} in the other factors")
        sample = cube.sample((cube.table[i] - cube.table[j])[shared])
        found.append(outcomes.within(sample, claim["within"], quantity).named(f"between {order[i]} and {order[j]}"))
    return outcomes.all_of(found)


def trend(sign: int):
    """Tests of `increases_with` (1) and `decreases_with` (-1)."""

    def test(results: Results, claim: dict) -> Outcome:
        _, order, cube = _ordered(results, claim)
        values = _whole(cube, claim)
        ranks = np.arange(len(order)) - (len(order) - 1) / 2
        slopes = np.tensordot(ranks, values, 1) / (ranks**2).sum()  # [C, R]; least squares, a step the unit
        sample = cube.sample(slopes)
        unit = words.unit(claim["metric"])
        label = words.factor(claim, results.labels)
        quantity = Quantity("the mean slope", unit, f"{unit.difference} a step of {label}")
        found = outcomes.directional(sample, sign, quantity)
        means = values[:, *np.ix_(*cube.kept(slopes))].mean((1, 2))
        return dataclasses.replace(found, extra=_course(means, sign, unit))

    return test


def turn(sign: int):
    """Tests of `rises_then_falls` (1) and `falls_then_rises` (-1)."""

    def test(results: Results, claim: dict) -> Outcome:
        key, order, cube = _ordered(results, claim)
        values = _whole(cube, claim)
        if len(order) < 3:
            raise Missing(f"needs three values of {results.labels.get(key, key)} or more, there are {len(order)}")
        quantity = outcomes.difference(claim["metric"])

        def against(i, end):
            found = outcomes.directional(cube.sample(values[i] - values[end]), sign, quantity)
            return found.named(f"at {_show(order[i])} against {_show(order[end])}")

        def inside(i):
            both = [against(i, 0), against(i, -1)]
            found = outcomes.all_of(both)
            other = both[found.finding == both[0].finding]
            return dataclasses.replace(found, extra=other.told)

        return outcomes.any_of([inside(i) for i in range(1, len(order) - 1)])

    return test


def correlation(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.correlation`."""
    cube, r, arms = coefficients(results, claim)
    z = dataclasses.replace(cube.sample(cube.table[0]), numbers=fisher(r))
    found = outcomes.directional(z, 1 if claim["sign"] == "positive" else -1, outcomes.mean(claim["metric"]))
    effect, low, high = np.tanh([found.effect, found.low, found.high])
    return dataclasses.replace(
        found,
        finding=f"the mean correlation over {arms} arms is {effect:.2f}",
        interval=f"95% interval {low:.2f} to {high:.2f}" if found.interval else "",
        effect=effect,
        low=low,
        high=high,
    )


def coefficients(results: Results, claim: dict) -> tuple[Cube, np.ndarray, int]:
    """Pearson's r [n] of the metric with the factor over the arms, one a replicate; of which cube, over how many arms.

    Of the claim, `metric`, `factor`, `numbers` and `where` are read.
    """
    key = results.key(claim["factor"])
    frame = results.rows(claim["where"], claim["metric"])
    x = _numbers(frame[key], claim["numbers"]) if claim["numbers"] else frame[key]
    frame, x = frame[x.notna()].reset_index(drop=True), x[x.notna()].reset_index(drop=True)
    if not all(isinstance(value, (int, float)) for value in x.tolist()):
        raise Missing(f"{results.labels.get(key, key)} is not a number; say with numbers which it stands for")
    cube = results.cube(frame, np.zeros(len(frame), int), ())
    table = cube.table[0]  # cells are arms, in the order in which the rows name them
    rows, columns = cube.kept(table)
    x = x[frame.drop_duplicates("arm").index].to_numpy(np.float64)[rows]
    table = table[np.ix_(rows, columns)]
    if len(x) < 3 or np.ptp(x) == 0:
        raise Missing("a correlation needs three arms or more, with different values of the factor")
    if (np.ptp(table, axis=0) == 0).any():
        raise Missing("the metric is the same in all arms")
    x, y = x - x.mean(), table - table.mean(0)
    return cube, x @ y / np.sqrt((x**2).sum() * (y**2).sum(0)), len(x)


def fisher(r: np.ndarray) -> np.ndarray:
    """Fisher's z of correlations; that of a perfect one has no end, so it is taken for one just short of it."""
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))


def _ordered(results: Results, claim: dict) -> tuple[str, list, Cube]:
    """The column of the claim's factor, its values in order, and the cube over them."""
    key = results.key(claim["factor"])
    frame = results.rows(claim["where"], claim["metric"], key)
    values = _numbers(frame[key], claim["numbers"]) if claim.get("numbers") else frame[key]
    frame, values = frame[values.notna()], values[values.notna()]
    order = list(dict.fromkeys(values.tolist()))
    if all(isinstance(value, (int, float)) for value in order):
        order.sort()
    else:
        order.sort(key=list(results.known_values(key, order)).index)
    if len(order) < 2:
        raise Missing(f"needs two values of {results.labels.get(key, key)} or more, there are {len(order)}")
    codes = values.map({value: i for i, value in enumerate(order)}).to_numpy(int)
    return key, order, results.cube(frame.reset_index(drop=True), codes, {key} - set(WHEN))


def _numbers(column: pd.Series, numbers) -> pd.Series:
    """The claim's number of each value; NaN of one that it leaves out."""
    of_value = {v: next((number for wanted, number in numbers if same(v, wanted)), np.nan) for v in column.unique()}
    return column.map(of_value).astype("float64")


def _whole(cube: Cube, claim: dict) -> np.ndarray:
    """The values [L, C, R] in the cells where every level was run."""
    whole = cube.there.all(0)
    if not whole.any():
        raise Missing(f"no setting of the other factors has all values of {claim['factor']}; narrow it with where")
    return cube.table[:, whole]


def _course(means: np.ndarray, sign: int, unit: words.Unit) -> str:
    way = "rises" if sign > 0 else "falls"
    text = f"the mean {way if (sign * np.diff(means) > 0).all() else f'does not {way[:-1]}'} at every step"
    return text + (f" ({', '.join(unit.number(m) for m in means)})" if len(means) <= SHOWN else "")


def _show(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
