"""Folds that start from the weights of the fold before: from those bits, whatever stops, fails or is added between."""

import io

import numpy as np
import pytest
from helpers import mlp, run_of, same_bits
from rich.console import Console

from fmnist_jax import carry, config, groups, places, session, study, sweep, testing
from fmnist_jax.errors import RunError, UserError

FIRST = {
    "folds": 3,
    "seeds": 2,
    "train__carry_over": True,
    "evaluation__test": "none",
    "metric": "validation_accuracy",
    "population__devices": 1,
}


def asked(**changes):
    return config.parse(mlp(**{**FIRST, "train__duration": "1 epochs", **changes}))


def go(checked, directory, **options):
    return study.run(checked, directory, Console(file=io.StringIO(), width=100), **options)


def first_and_last(checked, directory):
    """(seed, fold) -> first and last state of its run, as a new process would begin it and as it ended."""
    workshop, there, found = groups.Workshop(checked), places.there(directory), {}
    for place in there:
        group = carry.prepared(place, place.build(workshop), there, workshop)
        begun = session._Session(group, workshop.dataset(group.source), directory / "begun", checked, None)
        first = begun.population.get(begun._begin())
        last = testing.last_state(group, place.directory, checked)
        found |= {(run.seed, run.fold): (run_of(first, i), run_of(last, i)) for i, run in enumerate(group.runs)}
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that nobody disturbs, and the states of its runs."""
    directory = tmp_path_factory.mktemp("carry") / "whole"
    results = go(asked(), directory)
    (directory / "begun").mkdir()
    return directory, results, first_and_last(asked(), directory)


def test_a_fold_starts_with_the_bits_that_the_fold_before_ended_with_and_a_fresh_optimizer(whole):
    _, _, states = whole
    assert set(states) == {(seed, fold) for seed in (0, 1) for fold in (0, 1, 2)}
    for seed in (0, 1):
        drawn = states[seed, 0][0]
        for fold in (1, 2):
            first, before = states[seed, fold][0], states[seed, fold - 1][1]
            assert same_bits((first.params, first.batch_stats), (before.params, before.batch_stats))
            assert not same_bits(first.params, drawn.params)
            assert same_bits(first.opt_state, drawn.opt_state)
            assert not same_bits(first.opt_state, before.opt_state)
            assert (first.step, first.seed) == (0, seed)
    assert not same_bits(states[0, 1][0].params, states[1, 1][0].params)


def test_what_it_validates_has_been_trained_on(whole):
    """The leak that the option is for: from the second fold on, validation does as well as training."""
    by_fold = whole[1].table.groupby("fold")[["train_loss", "validation_loss"]].mean()
    assert by_fold["train_loss"].is_monotonic_decreasing
    assert by_fold["validation_loss"].is_monotonic_decreasing


def test_killed_between_folds_it_goes_on_to_the_same_bits(whole, tmp_path, monkeypatch):
    train_group = session.train_group

    def killed(group, *rest):
        if {run.fold for run in group.runs} == {1}:
            raise KeyboardInterrupt
        train_group(group, *rest)

    monkeypatch.setattr(session, "train_group", killed)
    with pytest.raises(KeyboardInterrupt):
        go(asked(), tmp_path)
    assert [place.trained for place in places.there(tmp_path)] == [True, False, False]
    monkeypatch.undo()
    go(asked(), tmp_path)
    (tmp_path / "begun").mkdir()
    again = first_and_last(asked(), tmp_path)
    assert all(same_bits(again[run], states) for run, states in whole[2].items())


def test_a_failed_fold_fails_those_that_start_from_it_and_retry_mends_all(whole, tmp_path, monkeypatch):
    train_group = session.train_group

    def broken(group, *rest):
        if {run.fold for run in group.runs} == {0}:
            raise ValueError("broken")
        train_group(group, *rest)

    monkeypatch.setattr(session, "train_group", broken)
    with pytest.raises(RunError, match="3 of 3 groups failed"):
        go(asked(), tmp_path)
    errors = [place.failure["error"] for place in places.there(tmp_path)]
    assert errors == [
        "ValueError: broken",
        "fold 1 starts from the weights of fold 0, which failed (seed 0); --retry trains both",
        "fold 2 starts from the weights of fold 1, which failed (seed 0); --retry trains both",
    ]
    monkeypatch.undo()
    mended = go(asked(), tmp_path, retry=True)
    assert mended.table["validation_loss"].tolist() == whole[1].table["validation_loss"].tolist()


def test_a_new_seed_and_an_arm_that_does_not_carry_over_stand_beside_it(whole, tmp_path):
    arms = {"anew": {}, "leaking": {"train.carry_over": True}}
    checked = asked(train__carry_over=False, seeds=1, sweep=sweep.named(arms))
    go(checked, tmp_path)
    before = {p.name: (p / "done.json").stat().st_mtime_ns for p in (tmp_path / "groups").iterdir()}
    found = go(asked(train__carry_over=False, seeds=2, sweep=sweep.named(arms)), tmp_path).table
    assert {p: (tmp_path / "groups" / p / "done.json").stat().st_mtime_ns for p in before} == before
    folds = [{key.fold for key in place.runs} for place in places.there(tmp_path)]
    assert sorted(map(len, folds)) == [1, 1, 1, 1, 1, 1, 3, 3]  # those of the other arm are one group a time
    wanted = whole[1].table.set_index(["seed", "fold"])["validation_loss"]
    leaking = found[found["arm"] == "leaking"].set_index(["seed", "fold"])["validation_loss"]
    np.testing.assert_allclose(leaking.sort_index(), wanted.sort_index(), rtol=1e-4)  # vmapped: not to the bit
    anew = found[found["arm"] == "anew"].set_index(["seed", "fold"])["validation_loss"]
    assert anew[0, 0] == pytest.approx(leaking[0, 0], rel=1e-4)
    assert (anew[:, 2] > leaking[:, 2]).all()


def test_a_first_fold_that_runs_out_of_memory_is_still_trained_first(tmp_path, monkeypatch):
    train_group, order = session.train_group, []

    def short(group, *rest):
        order.append((len(group.runs), group.runs[0].fold))
        if len(group.runs) == 2 and group.runs[0].fold == 0:
            raise MemoryError
        train_group(group, *rest)

    monkeypatch.setattr(session, "train_group", short)
    found = go(asked(), tmp_path)
    assert order == [(2, 0), (1, 0), (1, 0), (2, 1), (2, 2)]
    assert not found.study.failures


def test_nothing_carries_over_without_folds():
    with pytest.raises(UserError, match="train.carry_over=True: nothing reads it, because folds is 1"):
        config.parse(mlp(train__carry_over=True))
