"""Arms: overlaid strictly, named by what differs, never the same twice."""

import numpy as np
import pytest
from helpers import mlp, tiny

from fmnist_jax import arms, config, sweep
from fmnist_jax.errors import UserError


def arms_of(c, overrides):
    c.sweep = overrides
    return arms.arms_of(config.parse(c))


def test_without_a_sweep_there_is_one_arm():
    (arm,) = arms.arms_of(config.parse(mlp()))
    assert (arm.name, arm.override, arm.factors) == ("base", {}, {})


def test_arms_are_named_by_what_differs_and_by_nothing_else():
    overrides = sweep.product(
        {"optimizer.learning_rate": (1e-3, 0.1), "model.dense": ((5,), (5, 3)), "train.batch_size": (8,)}
    )
    made = arms_of(mlp(), overrides)
    assert [a.name for a in made] == [
        "learning_rate=0.001,dense=5",
        "learning_rate=0.001,dense=5-3",
        "learning_rate=0.1,dense=5",
        "learning_rate=0.1,dense=5-3",
    ]
    assert made[1].factors == {"optimizer.learning_rate": 0.001, "model.dense": "5, 3"}
    assert made[3].experiment.model.dense == (5, 3)
    assert made[0].experiment.train.batch_size == 8


def test_an_arm_that_changes_nothing_is_base_and_has_the_values_of_the_others_factors():
    made = arms_of(mlp(), sweep.chain([{}], sweep.product({"loss.smoothing": (0.1,)})))
    assert [a.name for a in made] == ["base", "smoothing=0.1"]
    assert [a.factors for a in made] == [{"loss.smoothing": 0.0}, {"loss.smoothing": 0.1}]


def test_named_arms_are_called_so_and_their_settings_are_no_factors():
    variants = sweep.named({"plain": {}, "dropped": {"model.dense_dropout": (0.5,), "model.dropout": (0.25,)}})
    made = arms_of(tiny(), sweep.product(variants, {"optimizer.learning_rate": (1e-3, 1e-2)}))
    assert [a.name for a in made][1:3] == ["plain,learning_rate=0.01", "dropped,learning_rate=0.001"]
    assert made[2].factors == {"variant": "dropped", "optimizer.learning_rate": 0.001}
    assert made[2].experiment.model.dropout == (0.25,)


def test_a_key_of_a_variant_that_other_arms_set_too_is_a_factor():
    variants = sweep.named({"dropout": {"model.dense_dropout": (0.5,)}})
    made = arms_of(tiny(), sweep.chain(variants, sweep.product({"model.dense_dropout": ((0.1,), (0.3,))})))
    assert [a.name for a in made] == ["dropout,dense_dropout=0.5", "dense_dropout=0.1", "dense_dropout=0.3"]
    assert [a.factors["model.dense_dropout"] for a in made] == [0.5, 0.1, 0.3]


def test_labels_are_as_long_as_it_takes_to_tell_them_apart():
    made = arms_of(
        tiny(), sweep.product({"optimizer.name": ("adam", "adamw"), "loss.name": ("poisson", "mean_squared_error")})
    )
    assert made[0].name == "optimizer.name=adam,loss.name=poisson"


def test_numpy_values_and_lists_are_taken_as_pythons():
    made = arms_of(mlp(), sweep.product({"optimizer.learning_rate": np.array([0.5, 0.25]), "model.dense": ([4],)}))
    assert [a.name for a in made] == ["learning_rate=0.5", "learning_rate=0.25"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([{"optimizer.lr": 1.0}], "arm optimizer.lr=1.0: optimizer.lr: no such key"),
        ([{"learning_rate": 1.0}], "did you mean optimizer.learning_rate?"),
        ([{"optimizer": 1.0}], "optimizer: a section, not a key"),
        ([{"optimizer.learning_rate.x": 1.0}], "optimizer.learning_rate.x: no such key"),
        ([{"optimizer.learning_rate": "fast"}], "must be a number"),
        ([{"model.dense": 5}], "model.dense=5: must be a tuple, such as (128,)"),
        ([{"optimizer.momentum": 0.9}], "nothing reads it, because optimizer.name is 'adam'"),
        ([{"seeds": 3}], "seeds: is the whole study's, not an arm's; set config.seeds"),
        ([{"folds": 3}], "folds: is the whole study's"),
        ([{"population.mode": "map"}], "population.mode: is the whole study's"),
        ([{}, {"train.batch_size": 16}], "arms 'base' and 'batch_size=16' are the same"),
        ([{"train.batch_size": 8}, {"train.batch_size": 8}], "are the same"),
        ([5], "sweep=(5,): holds 5, where a mapping"),
    ],
)
def test_a_sweep_that_does_not_fit_is_refused(overrides, message):
    if "batch_size=16" in message:
        overrides = [{}, {"train.batch_size": 16}, {"train.batch_size": 8}]
    with pytest.raises(UserError) as caught:
        arms_of(mlp(), tuple(overrides))
    assert message in str(caught.value)


def test_a_key_that_only_one_arm_reads_is_that_arms_alone():
    c = mlp(optimizer__momentum=0.9)
    good = ({"optimizer.name": "sgd"}, {"optimizer.name": "sgd", "optimizer.nesterov": True})
    assert len(arms_of(c, good)) == 2
    with pytest.raises(UserError, match="arm optimizer.name='adam': optimizer.momentum=0.9: nothing reads it"):
        arms_of(c, (*good, {"optimizer.name": "adam"}))


def test_five_thousand_arms_take_seconds():
    rates = tuple(float(x) for x in np.logspace(-4, -1, 1000))
    made = arms_of(mlp(), sweep.product({"optimizer.learning_rate": rates, "loss.smoothing": (0.0, 0.1)}))
    assert len({a.name for a in made}) == 2000
