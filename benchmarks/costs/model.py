"""What a study takes, as a sum of terms that each mean something: quantities of a group times seconds of each. A leaf.

A quantity is known before anything is trained (steps, operations, bytes); its coefficient is fitted by least squares of
relative errors, none below zero, to groups that were trained. A group is a mapping:

family            "cnn" | "mlp"; each has terms of its own, for it has programs of its own kind
turns             runs that a device has to train, one after the other or side by side
steps, batch      of a run
products          floating-point operations of an image trained, in convolutions and dense layers
looked_products   ... of an image evaluated
values            numbers of an image: its pixels and what each layer makes of them
parameters        of a run
mode              "map" | "vmap": whether a device has one run at work at a time, or all of its runs
cache             bytes of a core's own; what a step changes that is larger has to come from memory
evaluations       during training; looked_at: images of each
tested            images of the test set, at the end
runs, state_bytes of a run's checkpoint; checkpoints: how many
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

FAMILIES = ("cnn", "mlp")


def _steps(group: Mapping) -> float:
    return group["turns"] * group["steps"]


def _trained(group: Mapping) -> float:
    return _steps(group) * group["batch"]


def _looked_at(group: Mapping) -> float:
    return group["turns"] * group["evaluations"] * group["looked_at"]


def _from_memory(group: Mapping) -> float:
    """Parameters that are updated, and were not left in the cache by the step before."""
    at_work = group["state_bytes"] * (group["turns"] if group["mode"] == "vmap" else 1.0)
    return _steps(group) * group["parameters"] * max(0.0, 1.0 - group["cache"] / at_work)


OF_A_FAMILY: dict[str, tuple[str, Callable[[Mapping], float]]] = {  # term -> (what it is counted in, how many)
    "step": ("run and step", _steps),
    "product": ("operation trained", lambda group: _trained(group) * group["products"]),
    "value": ("value trained", lambda group: _trained(group) * group["values"]),
    "parameter": ("parameter updated", lambda group: _steps(group) * group["parameters"]),
    "parameter from memory": ("parameter updated that no cache holds", _from_memory),
    "evaluated product": ("operation evaluated", lambda group: _looked_at(group) * group["looked_products"]),
    "evaluated value": ("value evaluated", lambda group: _looked_at(group) * group["values"]),
}
OF_ALL: dict[str, tuple[str, Callable[[Mapping], float]]] = {
    "group": ("group", lambda group: 1.0),
    "row": ("run and evaluation", lambda group: group["runs"] * group["evaluations"]),
    "checkpoint": ("checkpoint", lambda group: group["checkpoints"]),
    "checkpoint byte": ("byte of a checkpoint", lambda group: group["checkpoints"] * _bytes(group)),
}
OF_A_TEST: dict[str, tuple[str, Callable[[Mapping], float]]] = {
    "test": ("group tested", lambda group: 1.0),
    "restored byte": ("byte restored", lambda group: _bytes(group)),
}


def _bytes(group: Mapping) -> float:
    return group["runs"] * group["state_bytes"]


def units() -> dict[str, str]:
    """Term -> what one of it is a second of, as "cnn step" -> "run and step"."""
    found = {f"{family} {name}": unit for family in FAMILIES for name, (unit, _) in OF_A_FAMILY.items()}
    return found | {name: unit for name, (unit, _) in {**OF_ALL, **OF_A_TEST}.items()}


def of_training(group: Mapping) -> dict[str, float]:
    """Term -> its quantity in training a group, from its being taken up to its end, but for compiling."""
    family = group["family"]
    own = {f"{family} {name}": count(group) for name, (_, count) in OF_A_FAMILY.items()}
    return own | {name: count(group) for name, (_, count) in OF_ALL.items()}


def of_test(group: Mapping) -> dict[str, float]:
    """Term -> its quantity in a group's reading the test set: what it restores, and evaluates."""
    family, once = group["family"], {**group, "evaluations": 1, "looked_at": group["tested"]}
    names = ("evaluated product", "evaluated value")
    own = {f"{family} {name}": OF_A_FAMILY[name][1](once) for name in names}
    return own | {name: count(group) for name, (_, count) in OF_A_TEST.items()}


def fit(rows: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> dict[str, float]:
    """Term -> seconds of one, by least squares of relative errors, none below zero.

    Args:
      rows: of each observation, term -> quantity.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    counts = np.array([[row.get(name, 0.0) for name in names] for row in rows]) / np.asarray(seconds)[:, None]
    scale = np.linalg.norm(counts, axis=0)
    scale[scale == 0] = 1.0
    found, _ = nnls(counts / scale, np.ones(len(rows)), maxiter=100 * len(names))
    return {name: float(value) for name, value in zip(names, found / scale, strict=True)}


def seconds_of(row: Mapping[str, float], coefficients: Mapping[str, float]) -> float:
    """The sum of an observation's terms."""
    return sum(count * coefficients.get(name, 0.0) for name, count in row.items())


def left_out(rows: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> list[float]:
    """Of every observation, predicted / measured by a fit of all the others."""
    ratios = []
    for i, (row, measured) in enumerate(zip(rows, seconds, strict=True)):
        others = [j for j in range(len(rows)) if j != i]
        ratios.append(seconds_of(row, fit([rows[j] for j in others], [seconds[j] for j in others])) / measured)
    return ratios


def of_study(groups: Sequence[Mapping], costs: Mapping, cold: bool = True) -> dict[str, float]:
    """Part -> seconds of a study of these groups in one process, from its start to its end.

    Args:
      costs: {"coefficients": of `fit`, "compile": family -> {"cold", "warm", "cold test"}, "start", "end", "end_run"}.
      cold: whether the programs have still to be compiled.
    """
    own, of_family = costs["coefficients"], [costs["compile"][group["family"]] for group in groups]
    compiling = sum(one["cold" if cold else "warm"] for one in of_family)
    testing = sum(seconds_of(of_test(group), own) for group in groups)
    return {
        "start": costs["start"],
        "compiling": compiling,
        "training": sum(seconds_of(of_training(group), own) for group in groups),
        "testing": testing + (sum(one["cold test"] for one in of_family) if cold else 0.0),
        "end": costs["end"] + costs["end_run"] * sum(group["runs"] for group in groups),
    }
