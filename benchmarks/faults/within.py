"""The study that faults are made in, shorter and in this process: for faults that are made by the thousand."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from benchmarks.faults import config as faults
from fmnist_jax import config, groups, paper, places, programs, study

DURATION = "6 epochs"  # three evaluations, and a checkpoint at each


def experiment(part: str = "mapped", changes: Mapping | None = None) -> config.Experiment:
    """The config, with more dotted keys changed."""
    asked = faults.get_config(part)
    asked.train.duration = DURATION
    with asked.unlocked():
        asked.update_from_flattened_dict(dict(changes or {}))
    return config.parse(asked)


def run(checked: config.Experiment, workdir: Path, **options) -> None:
    """One session, which says nothing."""
    with quiet():
        (paper if checked.paper.parts else study).run(checked, workdir, Console(quiet=True), **options)


def template(checked: config.Experiment, workdir: Path):
    """What the state of the first group looks like."""
    group = places.there(workdir)[0].build(groups.Workshop(checked))
    population = programs.population_of(group.static, len(group.runs), checked)
    return population.shapes(programs.seeds_of(group), group.hyper)


def bits(state) -> bytes:
    """All numbers of a state."""
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the package's warnings."""
    log = logging.getLogger("fmnist_jax")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
