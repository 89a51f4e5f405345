"""Sweeps as data: every function returns a tuple of overrides, {dotted key: value}, one an arm. A leaf.

    config.sweep = sweep.product({"optimizer.learning_rate": (1e-3, 1e-2), "model.dense": ((5,), (10,))})

Seeds and folds are no part of a sweep: they are axes of the study (`config.seeds`, `config.folds`), alike for all arms.
"""

import itertools
from collections.abc import Iterable, Mapping

import numpy as np

from fmnist_jax.errors import UserError

Sweep = tuple[dict, ...]
VARIANT = "variant"  # the name that `named` gives; not a key of the config


def product(*parts: Mapping | Iterable[dict]) -> Sweep:
    """Every combination; the last key changes fastest.

    Args:
      parts: {dotted key: values}, or another sweep, whose overrides stay together.

    Raises:
      UserError: a key twice, or without values.
    """
    axes = [axis for part in parts for axis in _axes(part)]
    if not axes:
        raise UserError("sweep.product: no keys; give {dotted key: values}, or leave config.sweep as it is")
    _no_key_twice(axes)
    return tuple(_merged(combination) for combination in itertools.product(*axes))


def zipped(values: Mapping) -> Sweep:
    """The first values of all keys together, then the second, and so on.

    Raises:
      UserError: the keys have different numbers of values.
    """
    axes = _axes(values)
    if len({len(axis) for axis in axes}) > 1:
        counts = ", ".join(f"{key} {len(axis)}" for key, axis in zip(values, axes, strict=True))
        raise UserError(f"sweep.zipped: needs as many values of each key, has {counts}; or take sweep.product")
    return _some("zipped", tuple(_merged(combination) for combination in zip(*axes, strict=True)))


def chain(*sweeps: Iterable[dict]) -> Sweep:
    """One sweep after the other: the arms of all. `[{}]` is the config as it stands."""
    return _some("chain", tuple(dict(override) for one in sweeps for override in _checked(one)))


def union(*sweeps: Iterable[dict]) -> Sweep:
    """One sweep after the other, but each override once: several questions that share arms."""
    distinct = {repr(sorted(override.items())): override for override in chain(*sweeps)}
    return tuple(distinct.values())


def named(arms: Mapping[str, dict]) -> Sweep:
    """Arms with names of their own, for settings that belong together: {"dropout": {"model.dropout": (0.25,), ...}}."""
    return _some("named", tuple({VARIANT: name, **override} for name, override in arms.items()))


def subsample(sweep: Iterable[dict], n: int, seed: int) -> Sweep:
    """n different arms of `sweep` at random, in its order: random search over a grid.

    Raises:
      UserError: there are not so many.
    """
    sweep = _checked(sweep)
    if not 1 <= n <= len(sweep):
        raise UserError(f"sweep.subsample: n={n} of {len(sweep)} arms; take from 1 to {len(sweep)}")
    chosen = np.random.default_rng(seed).choice(len(sweep), n, replace=False)
    return tuple(sweep[i] for i in sorted(chosen))


def _axes(part: Mapping | Iterable[dict]) -> list[Sweep]:
    """A sweep is one axis; a mapping is one axis a key."""
    if not isinstance(part, Mapping):
        return [_checked(part)]
    for key, values in part.items():
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            raise UserError(f"sweep: {key}={values!r}: needs a tuple of values, one an arm")
    return [tuple({key: value} for value in values) for key, values in part.items()]


def _some(name: str, sweep: Sweep) -> Sweep:
    if not sweep:
        raise UserError(f"sweep.{name}: no arms; a sweep has one or more")
    return sweep


def _checked(sweep: Iterable[dict]) -> Sweep:
    sweep = tuple(sweep)
    for override in sweep:
        if not isinstance(override, Mapping):
            raise UserError(f"sweep: {override!r} is not an override; one is {{'optimizer.learning_rate': 0.01}}")
    return sweep


def _no_key_twice(axes: list[Sweep]) -> None:
    seen = set()
    for axis in axes:
        keys = {key for override in axis for key in override}
        if twice := seen & keys:
            raise UserError(f"sweep.product: {min(twice)} comes from two of its parts; give all its values in one")
        seen |= keys


def _merged(overrides: Iterable[dict]) -> dict:
    return {key: value for override in overrides for key, value in override.items()}
