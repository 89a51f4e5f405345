"""The arm that validation chose, trained once more on all of the training set: a group of its own, in refit/."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from fmnist_jax import config, fields, writers
from fmnist_jax.arms import Arm
from fmnist_jax.groups import Workshop
from fmnist_jax.places import Place
from fmnist_jax.programs import Group


def place(directory: Path) -> Place:
    """Where it is, or will be."""
    return Place(directory / "refit")


def contents(checked: config.Experiment, chosen: Arm, epochs: np.ndarray) -> dict:
    """What its group.json holds: the arm, its seeds, and how long.

    Without a validation set no epoch can be chosen, so it lasts as long as the arm's chosen epochs did, by median.
    """
    duration = chosen.experiment.train.duration
    chooses = chosen.experiment.selection.weights == "best" or chosen.experiment.selection.patience
    if chooses and not fields.untrained(duration):
        duration = f"{np.median(epochs):g} epochs"
    seeds = range(checked.first_seed, checked.first_seed + checked.seeds)
    return {
        "arms": [{"name": chosen.name, "override": chosen.override}],
        "runs": [[0, seed, 0] for seed in seeds],
        "duration": duration,
    }


def done(directory: Path, wanted: dict) -> bool:
    """Whether just this has been trained and tested."""
    there = place(directory)
    same = (there.directory / "group.json").exists() and _of(there.contents) == _of(wanted)
    return same and there.trained and bool(there.tested[0])


def make_place(directory: Path, wanted: dict) -> Place:
    """The group's directory; one of another arm, other seeds or another length makes way."""
    there, old = place(directory), directory / "refit.old"
    if there.directory.exists():
        known = (there.directory / "group.json").exists()
        if not known or _of(there.contents) != _of(wanted):
            shutil.rmtree(old, ignore_errors=True)
            there.directory.rename(old)  # at once, so that no half of it is ever taken for the new one
            shutil.rmtree(old)
    fresh = place(directory)
    fresh.directory.mkdir(exist_ok=True)
    writers.write_json(fresh.directory / "group.json", wanted)
    return fresh


def group(workshop: Workshop, chosen: Arm, wanted: dict) -> Group:
    """The runs, without a validation set."""
    experiment = dataclasses.replace(
        chosen.experiment,
        train=dataclasses.replace(chosen.experiment.train, duration=wanted["duration"]),
        selection=config.SelectionConfig(),
    )
    prepared = workshop.prepare(dataclasses.replace(chosen, experiment=experiment), whole=True)
    return workshop.group("refit", [prepared], [tuple(run) for run in wanted["runs"]])


def settings(checked: config.Experiment) -> config.Experiment:
    """The study's settings as they are for runs that have no validation set."""
    return dataclasses.replace(checked, selection=config.SelectionConfig())


def _of(found: dict) -> dict:
    """What decides the runs; the arm's name does not."""
    plain = writers.as_json(found)
    return {"override": plain["arms"][0]["override"], "runs": plain["runs"], "duration": plain["duration"]}
