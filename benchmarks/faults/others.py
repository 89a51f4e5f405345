"""For every key of a config another legal value, and what must be set beside it so that something reads the key."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

from benchmarks.faults import originals, within
from fmnist_jax import claims, exhibits, experiment, sweep, train, weights

PART = {"part": "a"}


class Other(NamedTuple):
    """A key's other value; `beside` is set in both configs, and the key's first value may be among it."""

    value: Any
    beside: Mapping[str, Any] = {}


def values(place: Path) -> dict[str, Other]:
    """Key -> its other value; files that some name are made in `place`."""
    idx = [str(originals.write(originals.idx_set(40, 12), place / name)) for name in ("one", "other")]
    colours = str(originals.image_folder(place / "colours", each=20))
    paper = {"paper.parts": (PART,)}
    of_idx = {"dataset.name": "idx", "dataset.data_dir": idx[0], "evaluation.top_k": 2}
    in_colour = {"dataset.name": "folder", "dataset.data_dir": colours, "evaluation.top_k": 2}
    sgd, step, cycle = {"optimizer.name": "sgd"}, {"schedule.name": "step"}, {"schedule.name": "one_cycle"}
    plain = {"model.filters": (32, 64), "model.dense": (128,), "model.dense_dropout": (), "model.family": "resnet18"}
    networks = [str(resnet18(place / f"{fill}.safetensors", fill, plain)) for fill in (0, 1)]
    matrix = exhibits.confusion("matrix", "Who is taken for whom")
    found = {
        "dataset.name": Other("synthetic:420"),
        "dataset.data_dir": Other(idx[1], of_idx),
        "dataset.image_size": Other(14),
        "dataset.validation_fraction": Other(0.2),
        "dataset.images": Other(200),
        "dataset.split_seed": Other(1),
        "dataset.centre": Other(True),
        "dataset.mean": Other(0.5),
        "dataset.std": Other(0.5),
        "model.family": Other("mlp", {"model.filters": (32, 64)}),
        "model.weights": Other(networks[1], {**plain, "model.weights": networks[0]}),
        "model.whiten": Other(3),
        "model.filters": Other((5,)),
        "model.kernel": Other((5,)),
        "model.stride": Other((2,)),
        "model.padding": Other(("valid",)),
        "model.activation": Other(("tanh",)),
        "model.pool": Other(("average",)),
        "model.pool_size": Other((3,)),
        "model.norm": Other(("none",)),
        "model.order": Other(("norm", "activation", "pool")),
        "model.dropout": Other((0.1,)),
        "model.bridge": Other(1, {"model.filters": (4, 4)}),
        "model.dense": Other((9,)),
        "model.dense_activation": Other(("tanh",)),
        "model.dense_dropout": Other((0.3,)),
        "model.logits_activation": Other("relu"),
        "model.leaky_slope": Other(0.2, {"model.activation": ("leaky_relu",)}),
        "model.norm_momentum": Other(0.9),
        "model.norm_epsilon": Other(1e-2),
        "model.kernel_init": Other("pytorch"),
        "model.bias_init": Other("pytorch"),
        "model.init_scale": Other(0.5),
        "model.init_stddev": Other(0.1, {"model.kernel_init": "truncated_normal"}),
        "optimizer.name": Other("adamw"),
        "optimizer.learning_rate": Other(1e-3),
        "optimizer.bias_rate": Other(2.0),
        "optimizer.average": Other(0.9),
        "optimizer.momentum": Other(0.9, sgd),
        "optimizer.nesterov": Other(True),
        "optimizer.b1": Other(0.8),
        "optimizer.b2": Other(0.99),
        "optimizer.decay": Other(0.8, {"optimizer.name": "rmsprop"}),
        "optimizer.eps": Other(1e-6),
        "optimizer.weight_decay": Other(1e-4),
        "optimizer.initial_accumulator": Other(0.2, {"optimizer.name": "adagrad"}),
        "schedule.name": Other("cosine"),
        "schedule.warmup_epochs": Other(1.0),
        "schedule.factor": Other(0.1, step),
        "schedule.every_epochs": Other(2.0, step),
        "schedule.final_fraction": Other(0.1, {"schedule.name": "cosine"}),
        "schedule.pct_start": Other(0.5, cycle),
        "schedule.div_factor": Other(10.0, cycle),
        "schedule.final_div_factor": Other(100.0, cycle),
        "loss.name": Other("mean_squared_error"),
        "loss.smoothing": Other(0.1),
        "augment.ops": Other(("flip",)),
        **{f"augment.{op}": Other(0.4, {"augment.ops": (op,)}) for op in ("rotate", "brightness", "contrast", "noise")},
        "augment.flip": Other(0.4),
        "augment.shift": Other(1.0),
        **{f"augment.{op}": Other(0.4, {"augment.ops": (op,), **in_colour}) for op in ("saturation", "hue")},
        **{f"augment.{key}": Other(0.4, {"augment.ops": ("erase",)}) for key in ("erase", "erase_area")},
        "train.batch_size": Other(8),
        "train.duration": Other("8 epochs"),
        "train.eval_every": Other("1 epochs"),
        "train.carry_over": Other(True, {"folds": 2}),
        "evaluation.batch_size": Other(40),
        "evaluation.top_k": Other(3),
        "evaluation.test": Other("none", {"metric": "validation_accuracy"}),
        "evaluation.test_curves": Other(True),
        "evaluation.activities": Other(10),
        "evaluation.timed_steps": Other(2),
        "population.mode": Other("vmap"),
        "population.conv": Other("lax"),
        "population.devices": Other(1),
        "population.most_runs": Other(1),
        "population.memory_gb": Other(1.0),
        "population.stream": Other("always"),
        "checkpoint.every": Other(2),
        "checkpoint.keep": Other(3),
        "writers.tensorboard": Other(True),
        "writers.statistics": Other(True),
        "writers.page": Other(True),
        "selection.weights": Other("last"),
        "selection.monitor": Other("validation_accuracy"),
        "selection.patience": Other(24),
        "selection.min_delta": Other(0.1),
        "selection.arm_by": Other("validation_loss"),
        "selection.refit": Other(True),
        "paper.title": Other("A title", paper),
        "paper.reference": Other("Somebody 2020", paper),
        "paper.notes": Other(("A note",), paper),
        "paper.parts": Other((PART, {"part": "b"}), paper),
        "paper.exhibits": Other((matrix,), paper),
        "question": Other("Is it so?"),
        "metric": Other("validation_accuracy"),
        "sweep": Other(sweep.product({"loss.smoothing": (0.0, 0.1)})),
        "seeds": Other(3),
        "first_seed": Other(1),
        "references": Other(("svm",)),
        "reference_images": Other(50, {"references": ("svm",)}),
        "folds": Other(2),
        "stratified": Other(False),
        "claims": Other((claims.at_least("A1", 0.1),)),
        "mesh": Other(2),
        "platform": Other("auto"),
    }
    return found


@functools.cache
def _resnet18_shapes(image_shape: tuple[int, int, int]) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape of the weights of ResNet-18, as torchvision has them."""
    asked = {"model.filters": (32, 64), "model.dense": (128,), "model.dense_dropout": (), "model.family": "resnet18"}
    static, hyper = experiment.resolve(within.experiment(changes=asked), image_shape, 10, 360, "blocked")
    state = jax.eval_shape(train.make_train(static).init, jax.ShapeDtypeStruct((), np.uint32), hyper)
    found = {}
    for tree in (state.params, state.batch_stats):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            *modules, kind = (key.key for key in path)
            shape = tuple(leaf.shape[i] for i in (3, 2, 0, 1)) if len(leaf.shape) == 4 else leaf.shape
            found[".".join(modules).replace("_", ".") + "." + weights.LEAVES[kind]] = shape
    return found


def resnet18(path: Path, fill: int, asked: Mapping) -> Path:
    """A file of weights for it, all of one number."""
    assert asked["model.family"] == "resnet18"
    shapes = _resnet18_shapes((28, 28, 1))
    safetensors.numpy.save_file({name: np.full(shape, fill, np.float16) for name, shape in shapes.items()}, path)
    return path
