"""Arms timed alone: what a run takes with nothing beside it, which an equal share of its group's time does not say.

When all is trained and tested, every arm is timed once a seed: `evaluation.timed_steps` training steps of one run, on
its own program, compiled and warm. Seed by seed all arms take their turn, in an order drawn anew for each, so that a
machine that slows down or speeds up does so for all of them. The replicate is the seed, as everywhere.

`alone_seconds` of a run is seconds a step x the steps it took: what its training would have taken alone, without
compiling, evaluations, checkpoints and the drawing of an epoch's order. It is extrapolated from the timed steps, and
it is of the hardware in timing.json.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from fmnist_jax import arms, config, groups, programs, workdir, writers
from fmnist_jax.arms import Arm
from fmnist_jax.experiment import Static
from fmnist_jax.population import Inputs, Population, Units

COLUMN = "alone_seconds"
WARM_UP = 0.25  # as a share of the timed steps: the caches are another arm's before
ORDER = 20_080  # of arms within a seed


def time_steps(runs: Population, state: Units, inputs: Inputs, steps: int) -> tuple[Units, float]:
    """The state after `steps` steps and the seconds they took, dispatched as a study does and waited for at the end.

    Where they are more than an epoch's, they go round the first epoch.
    """
    start, left = time.perf_counter(), steps
    while left:
        part = min(left, runs.static.steps_per_epoch)
        state = runs.segment(state, inputs, 0, part)
        left -= part
    jax.block_until_ready(state.parts)
    return state, time.perf_counter() - start


def due(directory: Path, checked: config.Experiment, trained: Sequence[Arm]) -> list[tuple[Arm, int]]:
    """What is still to be measured of the `trained` arms, in the order in which it will be: (arm, seed)."""
    steps, book = checked.evaluation.timed_steps, _read(directory)
    if not steps:
        return []
    measured = book["arms"] if book.get("timed_steps") == steps else {}
    found = []
    for seed in range(checked.first_seed, checked.first_seed + checked.seeds):
        order = np.random.default_rng([ORDER, seed]).permutation(len(trained))
        found += [(trained[i], seed) for i in order if not _has(measured, trained[i], seed)]
    return found


def _has(measured: Mapping, arm: Arm, seed: int) -> bool:
    return str(seed) in measured.get(arms.identity(arm.override), {}).get("seconds_per_step", {})


def _read(directory: Path) -> dict:
    path = directory / "timing.json"
    return writers.read_json(path) if path.exists() else {"arms": {}}


class Bench:
    """Where arms are timed. Each measurement is in timing.json when `time` returns."""

    def __init__(self, directory: Path, checked: config.Experiment, workshop: groups.Workshop):
        self.path, self.checked, self.workshop = directory / "timing.json", checked, workshop
        environment = workdir.environment()
        hardware = {key: environment[key] for key in ("machine", "devices", "xla_flags")}
        about = {"timed_steps": checked.evaluation.timed_steps, **hardware, "jax": environment["packages"]["jax"]}
        book = _read(directory)
        if any(book.get(key) != value for key, value in about.items()):
            book = {"arms": {}}  # times of two machines do not compare: all arms are timed on this one
        self.book = {**about, "arms": book["arms"]}
        writers.write_json(self.path, self.book)
        self._runs: dict[Static, Population] = {}  # one a program, so that each is compiled once
        self._images: dict[int, tuple] = {}  # one copy on the device, whatever the number of arms

    def time(self, arm: Arm, seed: int) -> float:
        """Seconds a step of one run of `arm`, now."""
        prepared = self.workshop.prepare(arm)
        group = self.workshop.group("alone", [prepared], [(0, seed, 0)])
        dataset = self.workshop.dataset(group.source)
        if group.static not in self._runs:
            self._runs[group.static] = programs.population_of(group.static, 1, self.checked)
        runs = self._runs[group.static]
        if id(dataset) not in self._images:
            self._images[id(dataset)] = programs.images_of(runs, dataset, self.checked)
        inputs = programs.inputs_of(runs, group, dataset, self._images[id(dataset)])
        steps = self.checked.evaluation.timed_steps
        state, _ = time_steps(runs, runs.init(inputs), inputs, math.ceil(WARM_UP * steps))
        _, seconds = time_steps(runs, state, inputs, steps)
        self.note(arm, seed, seconds / steps, group.static.total_steps)
        return seconds / steps

    def note(self, arm: Arm, seed: int, seconds: float, total_steps: int = 0) -> None:
        """Keeps a measurement; NaN if there is none to be had, so that it is not tried again."""
        entry = self.book["arms"].setdefault(arms.identity(arm.override), {"total_steps": 0, "seconds_per_step": {}})
        entry["total_steps"] = max(total_steps, entry["total_steps"])
        entry["seconds_per_step"][str(seed)] = seconds
        writers.write_json(self.path, self.book)


def forget_failures(directory: Path) -> None:
    """Lets what could not be measured be tried again."""
    book = _read(directory)
    if book["arms"]:
        for entry in book["arms"].values():
            of_seed = entry["seconds_per_step"]
            entry["seconds_per_step"] = {seed: value for seed, value in of_seed.items() if value is not None}
        writers.write_json(directory / "timing.json", book)


def with_column(directory: Path, runs: pd.DataFrame, identities: Mapping[str, str]) -> pd.DataFrame:
    """`runs` with `alone_seconds`, where any of their arms has been timed; NaN of those that have not.

    Args:
      identities: name of an arm -> arms.identity of it.
    """
    book = _read(directory)["arms"]
    if not len(runs) or not any(identity in book for identity in identities.values()):
        return runs
    seconds = []
    for arm, seed, stopped_at in zip(runs["arm"], runs["seed"], runs["stopped_at"], strict=True):
        entry = book.get(identities[arm], {"seconds_per_step": {}})
        of_step = entry["seconds_per_step"].get(str(seed))
        steps = stopped_at if not math.isnan(stopped_at) else entry.get("total_steps")
        seconds.append(math.nan if of_step is None else of_step * steps)
    return runs.assign(**{COLUMN: seconds})


def estimate(runs: int, checked: config.Experiment, step_seconds: float) -> float:
    """About how long so many (arm, seed) take, whose step alone takes `step_seconds`; the compiling not counted."""
    steps = checked.evaluation.timed_steps
    return runs * (steps + math.ceil(WARM_UP * steps)) * step_seconds
