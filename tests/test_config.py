"""Every bad key or value is refused by name, before anything compiles, with what would be right."""

import dataclasses

import pytest
from helpers import resolved, tiny

from fmnist_jax import config, fields
from fmnist_jax.errors import UserError


def test_the_default_parses_to_itself():
    assert config.parse(config.default()) == config.Experiment()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.name": "adm"}, "optimizer.name='adm': did you mean 'adam'? one of sgd, adam"),
        ({"optimizer.learning_rate": -1.0}, "optimizer.learning_rate=-1.0: must be above 0"),
        ({"optimizer.learning_rate": float("nan")}, "optimizer.learning_rate=nan: must be a finite number"),
        ({"train.batch_size": 0}, "train.batch_size=0: must be at least 1"),
        ({"train.batch_size": 1.5}, "train.batch_size=1.5: must be a whole number, such as 32"),
        ({"train.duration": "0 epochs"}, "train.duration='0 epochs': must be more than zero"),
        ({"train.eval_every": "0 steps"}, "train.eval_every='0 steps': must be more than zero"),
        ({"train.duration": "0 steps"}, "train.duration='0 steps': trains nothing: model.weights is ''"),
        ({"train.duration": "ten epochs"}, "train.duration='ten epochs': a number and a unit, such as '500 steps'"),
        ({"train.duration": "1.5 steps"}, "must be a whole number of steps"),
        ({"seeds": 0}, "seeds=0: must be at least 1"),
        ({"dataset.validation_fraction": 1.0}, "dataset.validation_fraction=1.0: must be below 1"),
        ({"model.activation": ("rulu",)}, "model.activation=('rulu',): did you mean 'relu'?"),
        ({"model.filters": ("a",)}, "model.filters=('a',): holds 'a', where a whole number belongs"),
        ({"model.padding": (-1,)}, "model.padding=(-1,): 'same', 'valid' or a number of pixels"),
        ({"model.dropout": (1.5,)}, "model.dropout=(1.5,): must be at most 1"),
        ({"augment.ops": ("flipp",)}, "augment.ops=('flipp',): did you mean 'flip'?"),
        ({"optimizer.momentum": 0.9}, "optimizer.momentum=0.9: nothing reads it, because optimizer.name is 'adam'"),
        ({"schedule.factor": 0.1}, "schedule.factor=0.1: nothing reads it, because schedule.name is 'constant'"),
        ({"augment.rotate": 5.0}, "augment.rotate=5.0: nothing reads it, because augment.ops is ()"),
        ({"model.leaky_slope": 0.2}, "model.leaky_slope=0.2: nothing reads it, because no activation is leaky_relu"),
        ({"model.init_stddev": 0.2}, "model.init_stddev=0.2: nothing reads it"),
        (
            {"model.family": "mlp", "model.pool": ("soft",)},
            "model.pool=('soft',): nothing reads it, because model.family",
        ),
        ({"model.filters": (4.5,)}, "model.filters=(4.5,): holds 4.5, where a whole number belongs"),
        ({"model.order": ("activation", 3, "norm")}, "holds 3, where a string belongs"),
        ({"model.padding": (True,)}, "model.padding=(True,): 'same', 'valid' or a number of pixels"),
        ({"optimizer.bias_rate": 0.0}, "optimizer.bias_rate=0.0: must be above 0"),
        ({"optimizer.average": 1.0}, "optimizer.average=1.0: must be below 1"),
        ({"optimizer.learning_rate": 1e39}, "optimizer.learning_rate=1e+39: must be a finite number"),
        ({"optimizer.b1": 0.99999999999}, "optimizer.b1=0.99999999999: must be below 1"),
        ({"seeds": 10**400}, "is too large for any machine"),
        ({"checkpoint.keep": 1}, "checkpoint.keep=1: must be at least 2"),
        ({"model.pool": ("none",), "model.pool_size": (3,)}, "model.pool_size=(3,): nothing reads it"),
        ({"model.dense": (), "model.dense_dropout": (0.5,)}, "model.dense_dropout=(0.5,): nothing reads it"),
        ({"model.family": "mlp", "population.conv": "lax"}, "population.conv='lax': nothing reads it"),
        ({"dataset.validation_fraction": 0.0, "dataset.split_seed": 3}, "dataset.split_seed=3: nothing reads it"),
        ({"platform": "abacus"}, "platform='abacus': one of auto, cpu, gpu, tpu"),
    ],
)
def test_refused_by_name(changes, message):
    c = config.default()
    with c.ignore_type():
        c.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as caught:
        config.parse(c)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_is_refused_with_the_nearest():
    c = config.default()
    with c.unlocked():
        c.model.learning_rate = 0.1
    with pytest.raises(UserError, match="model.learning_rate: no such key; did you mean optimizer.learning_rate"):
        config.parse(c)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__batch_size": 193}, "train.batch_size=193: larger than the training set of 192 images"),
        ({"augment__ops": ("hue",)}, "augmentation 'hue' needs images of 3 channels, these have 1"),
        ({"model__kernel": (3, 3)}, "needs 1 entry or 1"),
        ({"model__order": ("pool", "norm")}, "must order 'activation', 'pool' and 'norm', each once"),
        ({"model__filters": ()}, "a cnn needs one convolution block at least"),
        ({"schedule__warmup_epochs": 2.0}, "schedule.warmup_epochs=2.0: not shorter than the training of 24 steps"),
        ({"evaluation__top_k": 11}, "evaluation.top_k=11: there are only 10 classes"),
        ({"train__duration": "3000000000 steps"}, "train.duration='3000000000 steps': more than 2,147,483,647 steps"),
        ({"train__duration": "50%"}, "train.duration='50%': a share of itself"),
    ],
)
def test_keys_that_do_not_fit_each_other_or_the_data(changes, message):
    with pytest.raises(UserError) as caught:
        resolved(tiny(**changes))
    assert message in str(caught.value)


def test_what_a_config_file_is_asked_for():
    topics = ("grid", "pool", "rate")
    assert config.asked("", topics) == (topics, "")
    assert config.asked("", topics, default=("grid",)) == (("grid",), "")
    assert config.asked("rate, grid", topics, default=("pool",)) == (("grid", "rate"), "")  # in the topics' order
    assert config.asked("quick", topics, default=("grid",)) == (("grid",), "quick")
    assert config.asked("full,pool", topics) == (("pool",), "full")
    with pytest.raises(UserError, match="no part 'pools'; did you mean pool.* at the scales quick, full"):
        config.asked("pools", topics)
    with pytest.raises(UserError, match="quick and full: one scale at a time"):
        config.asked("quick,full", topics)


def test_parts_of_a_paper_are_its_config_with_their_keys_over_it():
    c = tiny(question="all?", claims=({"kind": "x"},), paper__title="A paper")
    c.paper.parts = ({"part": "one", "seeds": 7}, {"part": "two", "question": "this?", "model.filters": [8]})
    one, two = (found := config.parts(config.parse(c))).values()
    assert list(found) == ["one", "two"]
    assert (one.seeds, one.question, one.model.filters) == (7, "all?", (4,))
    assert (two.seeds, two.question, two.model.filters) == (3, "this?", (8,))
    assert one.claims == two.claims == ()
    assert one.paper == config.PaperConfig()


def test_durations():
    assert fields.steps_of("500 steps", 10) == 500
    assert fields.steps_of("2.5 epochs", 10) == 25
    assert fields.steps_of("10%", 10, 300) == 30
    assert fields.steps_of("0.001 epochs", 10) == 1
    static, _ = resolved(tiny(train__duration="30 steps", train__eval_every="50%"))
    assert (static.total_steps, static.eval_every) == (30, 15)


def test_every_number_has_limits():
    """A key without a check would let an impossible value through to the compiler."""

    def walk(cls, prefix=""):
        for field in dataclasses.fields(cls):
            if dataclasses.is_dataclass(field.type):
                yield from walk(field.type, f"{prefix}{field.name}.")
            elif field.type in (int, float) and field.metadata.get("check") is None:
                yield prefix + field.name

    assert list(walk(config.Experiment)) == []
