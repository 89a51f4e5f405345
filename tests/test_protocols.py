"""The papers' protocols as `:full` runs them: every arm of every part in literal numbers; nothing is trained.

The numbers are of the papers' texts; where a text is silent, or something else was chosen, a comment says so.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import numpy as np
import pytest
from test_studies import PAPERS, asked

from fmnist_jax import arms, config, experiment, train

# What is so in all of them, but for what a part says itself.
ALL = {
    "dataset.name": "fashion_mnist",
    "dataset.images": 0,  # all there are
    "dataset.image_size": 0,  # as large as they are
    "dataset.centre": False,
    "dataset.mean": 0.0,  # pixels in [0, 1]
    "dataset.std": 1.0,
    "model.family": "cnn",
    "model.stride": (1,),
    "model.padding": ("same",),
    "model.activation": ("relu",),
    "model.pool_size": (2,),
    "model.order": ("activation", "pool", "norm"),
    "model.norm": ("none",),
    "model.dropout": (),
    "model.bridge": 0,
    "model.dense_activation": ("relu",),
    "model.dense_dropout": (),
    "model.logits_activation": "none",
    "model.bias_init": "zeros",
    "model.init_scale": 1.0,
    "model.weights": "",
    "optimizer.name": "adam",
    "optimizer.momentum": 0.0,
    "optimizer.nesterov": False,
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.999,
    "optimizer.weight_decay": 0.0,
    "schedule.name": "constant",
    "schedule.warmup_epochs": 0.0,
    "loss.name": "cross_entropy",
    "loss.smoothing": 0.0,
    "augment.ops": (),
    "train.carry_over": False,
    "selection.weights": "last",
    "selection.patience": 0,
    "evaluation.test": "all",
    "metric": "test_accuracy",
}

ACOSTA = ALL | {
    "dataset.validation_fraction": 0.0,
    "model.kernel": (5,),
    "model.padding": ("same",),  # not stated
    "model.kernel_init": "keras",  # not stated: Glorot's, TensorFlow's own
    "optimizer.name": "sgd",
    "train.batch_size": 500,
    "train.duration": "20000 steps",
}
NET = ("model.filters", "model.dense", "model.pool", "model.dense_dropout", "optimizer.learning_rate")
DEPTHS = ((32,), (64,), (32, 32), (64, 64))
# The learning rate is not stated: 3e-4 is where the paper's order is seen, 3e-3 where all nets are trained.
OF_ACOSTA = {
    *((n, (u,), ("average",), (0.2,), r) for n in DEPTHS for u in (256, 512, 1024) for r in (3e-4, 3e-3)),
    ((64,), (1024,), ("max",), (0.2,), 3e-4),
    *(((64,), (1024,), ("average",), (p,), 3e-4) for p in (0.0, 0.4, 0.6, 0.8, 0.95)),
    *((n, (256,), ("average",), (0.2,), r) for n in ((32,), (32, 32)) for r in (3e-5, 9e-5, 9e-4, 9e-3, 0.03, 0.1)),
}

REPORT = ALL | {
    "dataset.mean": 0.5,
    "dataset.std": 0.5,
    "dataset.validation_fraction": 0.0,
    "model.kernel": (3,),
    "model.kernel_init": "pytorch",
    "model.bias_init": "pytorch",
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.learning_rate": 1e-3,  # not stated for most; its losses agree
    "train.batch_size": 128,
    "train.duration": "10 epochs",
}
TWO_CONV = REPORT | {"model.filters": (32, 64), "model.pool": ("none", "max"), "model.dense": (128,)}
# Chosen, against its text: the losses of its Figures 7 and 11 are those of its best batch size and initialisation.
TUNED = TWO_CONV | {"model.kernel_init": "kaiming_normal", "train.batch_size": 64}
OF_NETS = {  # of an MLP nothing reads filters, pool and norm, which keep their defaults
    "2 conv, 1 FC": ("cnn", (32, 64), (128,), ("none", "max"), ("none",)),
    "1 conv, 2 FC": ("cnn", (32,), (64, 128), ("max",), ("none",)),
    "3 FC": ("mlp", (32, 64), (64, 128, 256), ("max",), ("batch",)),
    "3 conv": ("cnn", (32, 64, 128), (), ("none", "max", "max"), ("none",)),  # two poolings: 128 * 7 * 7 needs them
}
OF_ACTIVITIES = {  # a ResNet-18 reads no pool, norm or initialisation
    "own net": ("cnn", ("none", "max"), ("none",), "kaiming_normal", "pytorch", 64),
    "ResNet-18": ("resnet18", ("max",), ("batch",), "keras", "zeros", 128),
}
LAYERS = ("model.pool", "model.norm")
RATE = ("optimizer.learning_rate",)

KUNZE = ALL | {
    "dataset.centre": True,  # of its code, not of its text
    "dataset.validation_fraction": 5000 / 60_000,  # not stated; its code's
    "stratified": False,  # "unbalanced"
    "model.kernel_init": "truncated_normal",
    "model.init_stddev": 0.5,
    "optimizer.learning_rate": 1e-3,
    "train.batch_size": 32,
    "train.eval_every": "50 steps",
    "writers.statistics": True,  # the JSON file
}
KUNZE_MLP = KUNZE | {
    "model.family": "mlp",
    "model.norm": ("batch",),  # the default, which an MLP does not read
    "model.logits_activation": "relu",  # of its code, not of its text
    "train.duration": "15000 steps",
}
KUNZE_CNN = KUNZE | {
    "model.padding": ("valid",),
    "model.pool": ("none",),
    "model.dense": (),  # the convolution is in place of the hidden layer
    "train.duration": "10000 steps",
}
RATES_OF_UNITS = {3: 1e-3, 4: 1e-3, 5: 1e-3, 10: 1e-3, 20: 1e-3, 50: 1e-3, 100: 1e-4, 200: 1e-4, 800: 1e-4}
READINGS = {  # centred images, activation of the outputs
    "ReLU on the outputs alone": (False, "relu"),
    "centred images alone": (True, "none"),
    "neither": (False, "none"),
}
READ = ("dataset.centre", "model.logits_activation")

BLAGG = ALL | {
    "dataset.name": "folder:fruits-360",
    "dataset.validation_fraction": 0.0,
    "model.kernel": (4,),
    "model.stride": (2,),
    "model.pool": ("max",),
    "model.dense": (66,),  # twice the 33 classes
    "model.dense_dropout": (0.05,),
    "model.kernel_init": "keras",
    "optimizer.eps": 1e-7,
    "train.batch_size": 64,
    "train.duration": "3 epochs",
}
BLAGGS_FILTERS = ((12, 24, 48), (24, 48, 96), (36, 72, 144), (48, 96, 192))
BLAGGS_RATES = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)

ALEXANDER = ALL | {
    "model.filters": (32, 64),
    "model.kernel": (3,),
    "model.pool": ("max",),
    "model.norm": ("batch",),
    "model.norm_momentum": 0.99,
    "model.norm_epsilon": 1e-3,
    "model.dense": (128,),
    "model.kernel_init": "keras",
    "optimizer.learning_rate": 1e-3,
    "optimizer.eps": 1e-7,
    "train.batch_size": 32,
    "train.duration": "10 epochs",
}
VARIED = ("optimizer.learning_rate", "model.dropout", "model.dense_dropout", "model.pool")
LEAKY = ("model.activation", "model.dense_activation", "model.leaky_slope")
RELU, LEAKY_RELU = (("relu",), ("relu",), 0.01), (("leaky_relu",), ("leaky_relu",), 0.1)  # nothing reads 0.01
OF_VARIANTS = {
    "baseline": (1e-3, (), (), ("max",), *RELU),
    "learning rate": (1e-4, (), (), ("max",), *RELU),
    "dropout": (1e-3, (0.25,), (0.5,), ("max",), *RELU),
    "softpool": (1e-3, (), (), ("soft",), *RELU),
    "leaky ReLU": (1e-3, (), (), ("max",), *LEAKY_RELU),
}


class Part(NamedTuple):
    """What a part is."""

    held: dict  # what its arms have, where they do not differ
    keys: tuple[str, ...] = ()  # what they differ in, and nothing else
    rows: dict | set = frozenset({()})  # the values of these: by the arm's name, or of each arm
    seeds: int = 5
    folds: int = 1


OF_FOLDS = {
    "dataset.validation_fraction": 0.1,  # nothing reads it: a fold has its own
    "evaluation.test": "none",
    "metric": "validation_accuracy",
}
PROTOCOLS = {
    "acosta": {"paper": Part(ACOSTA, NET, OF_ACOSTA)},
    "report234591": {
        "architecture": Part(REPORT, ("model.family", "model.filters", "model.dense", *LAYERS), OF_NETS),
        "rate": Part(TUNED, RATE, {(1e-4,), (1e-3,), (1e-2,), (1e-1,)}),
        "rate-1": Part(TUNED | {"optimizer.learning_rate": 1.0}, seeds=10),
        "rate-stated": Part(TWO_CONV | {"optimizer.learning_rate": 0.1}, seeds=10),
        "batch": Part(TWO_CONV, ("train.batch_size",), {(64,), (128,), (256,), (512,)}),
        "init": Part(
            TWO_CONV,
            ("model.kernel_init",),
            {("xavier_uniform",), ("xavier_normal",), ("kaiming_uniform",), ("kaiming_normal",)},
        ),
        "augmentation": Part(
            TWO_CONV | {"augment.flip": 0.5, "augment.rotate": 10.0},
            ("augment.ops",),
            {
                "ToTensor, Normalize": ((),),
                "RandomHorizontalFlip, ToTensor, Normalize": (("flip",),),
                "ColorJitter, ToTensor, Normalize": (("brightness", "contrast"),),  # grey has no saturation, no hue
                "RandomRotation, ToTensor, Normalize": (("rotate",),),
            },
        ),
        "folds": Part(
            TUNED | OF_FOLDS | {"optimizer.learning_rate": 0.01},
            ("train.carry_over",),
            {"anew": (False,), "leaking": (True,)},
            folds=5,
        ),
        "activities": Part(
            TWO_CONV | {"optimizer.learning_rate": 0.01, "evaluation.activities": 1000},
            ("model.family", *LAYERS, "model.kernel_init", "model.bias_init", "train.batch_size"),
            OF_ACTIVITIES,
        ),
    },
    "kunze": {
        "dense": Part(
            KUNZE_MLP,
            ("model.dense", *RATE, "model.init_stddev"),
            {
                *(((n,), rate, 0.5) for n, rate in RATES_OF_UNITS.items()),
                *(((n,), rate, s) for n, rate in RATES_OF_UNITS.items() if n not in (4, 800) for s in (0.05, 0.15)),
            },
        ),
        "crash": Part(KUNZE_MLP | {"model.dense": (800,)}, seeds=10),
        "reading": Part(
            KUNZE_MLP,
            (*READ, "model.dense", *RATE),
            {
                f"{name},dense={n},learning_rate={rate}": (*read, (n,), rate)
                for (name, read), (n, rate) in itertools.product(READINGS.items(), RATES_OF_UNITS.items())
            },
        ),
        "reading-crash": Part(KUNZE_MLP | {"model.dense": (800,)}, READ, READINGS, seeds=10),
        "cnn": Part(
            KUNZE_CNN,
            ("model.filters", "model.kernel"),
            {*(((n,), (3,)) for n in (1, 2, 5, 10, 15, 20, 32)), *(((32,), (n,)) for n in (2, 5, 7, 10))},
        ),
        "classical": Part(
            KUNZE_MLP
            | {
                "dataset.centre": False,  # for the classifiers, whose pixels are standardised
                "model.dense": (5,),
                "references": ("svm", "random_forest", "logistic_regression", "k_nearest"),
                "reference_images": 0,  # all there are
            }
        ),
    },
    "blagg": {  # each setting twice, in the paper
        "sweep": Part(
            BLAGG,
            (*RATE, "model.filters", "loss.name"),
            set(itertools.product(BLAGGS_RATES, BLAGGS_FILTERS, ("poisson", "cross_entropy", "mean_squared_error"))),
        ),
    },
    "alexander": {
        "folds": Part(
            ALEXANDER
            | OF_FOLDS
            | {"selection.weights": "best"},  # what the authors wish for; curves are of the weights as they went
            (*VARIED, *LEAKY),
            OF_VARIANTS,
            seeds=1,
            folds=10,
        ),
        "test": Part(
            ALEXANDER
            | {
                "dataset.validation_fraction": 0.0,
                "evaluation.test_curves": True,
                "schedule.factor": 0.5,
                "schedule.every_epochs": 5.0,
            },
            (*RATE, "schedule.name"),
            {
                "baseline": (1e-3, "constant"),
                "learning rate": (1e-4, "constant"),
                "halved learning rate": (1e-3, "step"),
            },
            seeds=20,  # once, in the paper
        ),
    },
}
PRINTED = (("leaky_relu_as_printed",), ("leaky_relu_as_printed",), 0.1)
BY_NAME = {  # paper, topic asked by name alone -> its part, what that is then
    ("report234591", "one_pool"): (
        "architecture",
        PROTOCOLS["report234591"]["architecture"]._replace(
            rows=OF_NETS | {"3 conv": ("cnn", (32, 64, 128), (), ("none", "none", "max"), ("none",))}
        ),
    ),
    ("report234591", "as_stated"): ("as-stated", Part(TWO_CONV, RATE, {(1e-4,), (1e-3,), (1e-2,), (1e-1,)})),
    ("blagg", "as_published"): (  # all three losses were cross-entropy
        "sweep",
        Part(BLAGG, (*RATE, "model.filters"), set(itertools.product(BLAGGS_RATES, BLAGGS_FILTERS))),
    ),
    ("alexander", "slope"): (
        "folds",
        PROTOCOLS["alexander"]["folds"]._replace(
            rows=OF_VARIANTS | {"leaky ReLU, as printed": (1e-3, (), (), ("max",), *PRINTED)}
        ),
    ),
}


@functools.cache
def parts_of(name, text="full") -> dict[str, tuple[config.Experiment, tuple[arms.Arm, ...]]]:
    """part -> its study and its arms, as `paper.run` comes to them."""
    return {part: (one, arms.arms_of(one)) for part, one in config.parts(asked(name, text)).items()}


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_has_these_parts(name):
    assert [*parts_of(name)] == [*PROTOCOLS[name]]


@pytest.mark.parametrize(
    ("name", "text", "part", "expected"),
    [
        *(
            pytest.param(name, "full", part, expected, id=f"{name}-{part}")
            for name, parts in PROTOCOLS.items()
            for part, expected in parts.items()
        ),
        *(
            pytest.param(name, f"{topic},full", *of_topic, id=f"{name}-{topic}")
            for (name, topic), of_topic in BY_NAME.items()
        ),
    ],
)
def test_the_arms_of_a_part_are_the_papers(name, text, part, expected):
    one, of_part = parts_of(name, text)[part]
    assert (one.seeds, one.folds) == (expected.seeds, expected.folds)
    assert len(of_part) == len(expected.rows)
    flat = {arm.name: config.flatten(arm.experiment) for arm in of_part}
    rows = {arm: tuple(values[key] for key in expected.keys) for arm, values in flat.items()}
    assert (rows if isinstance(expected.rows, dict) else set(rows.values())) == expected.rows
    held = {key: value for key, value in expected.held.items() if key not in expected.keys}
    for arm, values in flat.items():
        assert {key: values[key] for key in held} == held, arm
    first, *others = flat.values()
    assert {key for values in others for key in values if values[key] != first[key]} == set(expected.keys)


def trainable(arm: arms.Arm, image_shape, classes) -> int:
    static, hyper = experiment.resolve(arm.experiment, image_shape, classes, 10_000, "patches")
    state = jax.eval_shape(train.make_train(static).init, jax.ShapeDtypeStruct((), np.uint32), hyper)
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


GREY, FRUIT = ((28, 28, 1), 10), ((100, 100, 3), 33)
ACOSTAS = "filters={},dense={},pool=average,dense_dropout=0.2,learning_rate=0.0003"
BLAGGS = "learning_rate=0.001,filters={},loss.name=cross_entropy"


@pytest.mark.parametrize(
    ("name", "part", "arm", "data", "expected"),
    [
        # 5 * 5 * 1 * 32 + 32 = 832; pooled to 14 * 14 * 32 = 6272; 6272 * 256 + 256 = 1,605,888; 256 * 10 + 10 = 2570
        ("acosta", "paper", ACOSTAS.format("32", 256), GREY, 1_609_290),
        # 1664; pooled to 14 * 14 * 64 = 12,544; 12,544 * 1024 + 1024 = 12,846,080; 1024 * 10 + 10 = 10,250
        ("acosta", "paper", ACOSTAS.format("64", 1024), GREY, 12_857_994),
        # 1664; 5 * 5 * 64 * 64 + 64 = 102,464; pooled to 7 * 7 * 64 = 3136; 3136 * 1024 + 1024 = 3,212,288; 10,250
        ("acosta", "paper", ACOSTAS.format("64-64", 1024), GREY, 3_326_666),
        # 9 * 32 + 32 = 320; 9 * 32 * 64 + 64 = 18,496; 64 * 14 * 14 * 128 + 128 = 1,605,760; 128 * 10 + 10 = 1290
        ("report234591", "architecture", "2 conv, 1 FC", GREY, 1_625_866),
        # 320; 32 * 14 * 14 * 64 + 64 = 401,472; 64 * 128 + 128 = 8320; 1290
        ("report234591", "architecture", "1 conv, 2 FC", GREY, 411_402),
        # 784 * 64 + 64 = 50,240; 8320; 128 * 256 + 256 = 33,024; 256 * 10 + 10 = 2570
        ("report234591", "architecture", "3 FC", GREY, 94_154),
        # 320; 18,496; 9 * 64 * 128 + 128 = 73,856; 128 * 7 * 7 * 10 + 10 = 62,730
        ("report234591", "architecture", "3 conv", GREY, 155_402),
        # torchvision's 11,689,512 with 1000 classes, 512 * 1000 + 1000 of them the last layer's, here 512 * 10 + 10
        ("report234591", "activities", "ResNet-18", GREY, 11_181_642),
        # 784 * 5 + 5 = 3925; 5 * 10 + 10 = 60
        ("kunze", "dense", "dense=5,init_stddev=0.5,learning_rate=0.001", GREY, 3985),
        # 784 * 800 + 800 = 628,000; 800 * 10 + 10 = 8010
        ("kunze", "crash", "base", GREY, 636_010),
        # 3 * 3 * 15 + 15 = 150; without padding 26 * 26 * 15 = 10,140; 10,140 * 10 + 10 = 101,410
        ("kunze", "cnn", "filters=15,kernel=3", GREY, 101_560),
        # 2 * 2 * 32 + 32 = 160; 27 * 27 * 32 = 23,328; 23,328 * 10 + 10 = 233,290
        ("kunze", "cnn", "filters=32,kernel=2", GREY, 233_450),
        # A side of 100 -> 50 -> pooled 25 -> 13 -> 6 -> 3 -> 1: one pixel is left.
        # 16 * 3 * 12 + 12 = 588; 16 * 12 * 24 + 24 = 4632; 16 * 24 * 48 + 48 = 18,480;
        # 48 * 66 + 66 = 3234; 66 * 33 + 33 = 2211
        ("blagg", "sweep", BLAGGS.format("12-24-48"), FRUIT, 29_145),
        # 2352; 16 * 48 * 96 + 96 = 73,824; 16 * 96 * 192 + 192 = 295,104; 192 * 66 + 66 = 12,738; 2211
        ("blagg", "sweep", BLAGGS.format("48-96-192"), FRUIT, 386_229),
        # As its summary prints: 320 + 18,496 + 401,536 + 1290, and of batch norm 2 * 32 + 2 * 64.
        ("alexander", "folds", "baseline", GREY, 421_834),
        ("alexander", "folds", "softpool", GREY, 421_834),
        ("alexander", "test", "halved learning rate", GREY, 421_834),
    ],
)
def test_an_arm_has_the_parameters_worked_out_by_hand(name, part, arm, data, expected):
    (found,) = [one for one in parts_of(name)[part][1] if one.name == arm]
    assert trainable(found, *data) == expected
