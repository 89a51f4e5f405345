"""The arms of a study: a checked experiment each, named by what differs."""

import dataclasses
import json
from typing import Any

import numpy as np

from fmnist_jax import config, sweep, tidy
from fmnist_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
    """One setting of the hyper-parameters under comparison."""

    name: str
    override: dict[str, Any]  # what is not as in the study's config; the arm itself, however the sweep came to it
    experiment: config.Experiment
    factors: dict[str, Any]  # column of the runs table -> value, simple


def arms_of(experiment: config.Experiment) -> tuple[Arm, ...]:
    """The arms of `experiment.sweep`, in its order; without a sweep the one arm "base".

    Raises:
      UserError: an override does not fit the config, or two arms are the same.
    """
    if not experiment.sweep:
        return (Arm("base", {}, experiment, {}),)
    overrides = [{k: _plain(v) for k, v in override.items()} for override in experiment.sweep]
    experiments = [overlay(experiment, override) for override in overrides]
    base, flat = config.flatten(experiment), [config.flatten(one) for one in experiments]
    keys = list(dict.fromkeys(key for override in overrides for key in override))
    varying = [k for k in keys if k == sweep.VARIANT or len({repr(values[k]) for values in flat}) > 1]
    names = _names(overrides, varying)
    _no_arm_twice(names, flat)
    columns = _columns(overrides, varying)
    factors = [
        {k: override.get(k, "base") if k == sweep.VARIANT else tidy.simple(values[k]) for k in columns}
        for override, values in zip(overrides, flat, strict=True)
    ]
    changes = [
        {k: values[k] for k in override if k != sweep.VARIANT and values[k] != base[k]}
        for override, values in zip(overrides, flat, strict=True)
    ]
    return tuple(Arm(*parts) for parts in zip(names, changes, experiments, factors, strict=True))


def identity(override: dict[str, Any]) -> str:
    """What makes an arm itself in a workdir, whatever its name: its override, as JSON."""
    return json.dumps(override, sort_keys=True)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two overrides make the same arm."""
    return identity(a) == identity(b)


def overlay(experiment: config.Experiment, override: dict[str, Any]) -> config.Experiment:
    """The experiment of one arm.

    Raises:
      UserError: `override` does not fit; says of which arm.
    """
    try:
        return config.overlay(experiment, {k: v for k, v in override.items() if k != sweep.VARIANT})
    except UserError as error:
        raise UserError(f"sweep, arm {_words(override)}: {error}") from None


def _names(overrides: list[dict], varying: list[str]) -> list[str]:
    labels = tidy.short_labels(k for k in varying if k != sweep.VARIANT)
    bundled = _bundled(overrides)
    names = []
    for override in overrides:
        parts = [override[sweep.VARIANT]] if sweep.VARIANT in override else []
        shown = [k for k in override if k in labels and k not in bundled]
        parts += [f"{labels[k]}={str(tidy.simple(override[k])).replace(', ', '-')}" for k in shown]
        names.append(",".join(parts) or "base")
    return names


def _bundled(overrides: list[dict]) -> set[str]:
    """Keys that come with a variant's name alone: the name stands for them."""
    of_variant: dict[str, dict[str, set]] = {}
    for override in overrides:
        of_keys = of_variant.setdefault(override.get(sweep.VARIANT), {})
        for key, value in override.items():
            of_keys.setdefault(key, set()).add(repr(value))
    unnamed = of_variant.pop(None, {})
    keys = {key for of_keys in of_variant.values() for key in of_keys} - set(unnamed)
    return {key for key in keys if all(len(of_keys.get(key, ())) <= 1 for of_keys in of_variant.values())}


def _columns(overrides: list[dict], varying: list[str]) -> list[str]:
    if not any(sweep.VARIANT in override for override in overrides):
        return varying
    bundled = _bundled(overrides) - {sweep.VARIANT}
    return [key for key in varying if key not in bundled]


def _no_arm_twice(names: list[str], flat: list[dict]) -> None:
    seen: dict[str, int] = {}
    for i, (name, values) in enumerate(zip(names, flat, strict=True)):
        for what in (repr(values), f"name {name}"):
            if (first := seen.setdefault(what, i)) != i:
                raise UserError(
                    f"sweep: arms {names[first]!r} and {name!r} are the same; seeds repeat an arm, a sweep does not"
                )


def _words(override: dict) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in override.items()) or "{}"


def _plain(value):
    """NumPy scalars, as np.logspace gives them, as Python's; lists as tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def override_of(arm: dict) -> dict:
    """The override of an arm in group.json or study.json, with the tuples that JSON has no word for."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in arm["override"].items()}
