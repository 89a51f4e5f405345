"""Folds that leak, as `report234591` has them: a fold's runs start from the weights that the fold before ended with."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import config, testing
from fmnist_jax.errors import RunError
from fmnist_jax.groups import RunKey, Workshop
from fmnist_jax.hosts import ALONE, Hosts
from fmnist_jax.places import Place
from fmnist_jax.programs import Group


def in_turn(waiting: Sequence[Place], checked: config.Experiment) -> list[Place]:
    """Groups that are still to be trained, those that must wait for another of them behind the rest."""
    return sorted(waiting, key=_waits(waiting, checked))


def ready(waiting: Sequence[Place], checked: config.Experiment) -> list[Place]:
    """Those of them that must wait for no other."""
    waits = _waits(waiting, checked)
    return [place for place in waiting if not waits(place)]


def _waits(waiting: Sequence[Place], checked: config.Experiment) -> Callable[[Place], bool]:
    """Whether one of `waiting` must wait for another."""
    pending = {key for place in waiting if _carries(place, checked) for key in place.runs}  # they start from their like
    return lambda place: _carries(place, checked) and not pending.isdisjoint(_before(place))


def _carries(place: Place, checked: config.Experiment) -> bool:
    return place.contents["arms"][0]["override"].get("train.carry_over", checked.train.carry_over)


def _before(place: Place) -> list[RunKey]:
    """The run of the fold before, of each of its runs."""
    return [key._replace(fold=key.fold - 1) for key in place.runs]


def prepared(place: Place, group: Group, places: Sequence[Place], workshop: Workshop, hosts: Hosts = ALONE) -> Group:
    """`group`, which is to start where the runs of the folds before ended, if its arms carry weights over.

    Optimizer state starts anew; the network alone is carried.

    Args:
      places: all groups of the study.
      hosts: which train the group together; the one that leads says where the others find the weights.

    Raises:
      RunError: a run of the fold before is not there.
    """
    before = _before(place)
    if not group.static.carry_over or before[0].fold < 0:
        return group
    where = hosts.tell(_where(before, places, workshop) if hosts.leads else None)

    def begin(state, chosen):
        networks = _ends([(before[i], *where[i]) for i in chosen], place.directory.parent, workshop)
        return state._replace(params=networks[0], batch_stats=networks[1])

    return dataclasses.replace(group, begin=begin)


def _where(wanted: Sequence[RunKey], places: Sequence[Place], workshop: Workshop) -> list[tuple[str, int]]:
    """(group, step of its last checkpoint) of each wanted run."""
    of_run = {key: one for one in places if one.trained and not one.failure for key in one.runs}
    if missing := [key for key in wanted if key not in of_run]:
        raise RunError(
            f"fold {missing[0].fold + 1} starts from the weights of fold {missing[0].fold}, which failed "
            f"(seed {missing[0].seed}); --retry trains both"
        )
    steps = {}
    for place in {of_run[key].name: of_run[key] for key in wanted}.values():
        try:
            steps[place.name] = testing.last_step(place.directory, workshop.checked)
        except testing.Outdated as gone:
            raise RunError(f"{gone}; remove {place.directory} to train it again") from None
    return [(of_run[key].name, steps[of_run[key].name]) for key in wanted]


def _ends(wanted: Sequence[tuple[RunKey, str, int]], groups: Path, workshop: Workshop):
    """(params, batch_stats) of each wanted run at its end, with a leading axis of runs."""
    ends = {}
    for name, step in {(name, step) for _, name, step in wanted}:
        place = Place(groups / name)
        state = testing.last_state(place.build(workshop), place.directory, workshop.checked, step=step)
        for i, key in enumerate(place.runs):
            ends[key] = jax.tree.map(lambda leaf, i=i: leaf[i], (state.params, state.batch_stats))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(ends[key] for key, _, _ in wanted))
