"""What all contenders train: one arm of a study, on its own data set, at one batch size; and what that costs.

The arms are read out of configs/, so that a benchmark measures what a study trains and not something like it.
"""

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fmnist_jax import arms, config, data, experiment, forms, models, train
from fmnist_jax.data import Dataset

OURS = "fmnist_jax"
FLOAT32, BFLOAT16, VMAP = "PyTorch float32", "PyTorch bfloat16", "torch.func.vmap"
FLAX, KERAS = "plain Flax", "Keras 3"


@dataclasses.dataclass(frozen=True)
class Workload:
    """An arm of configs/<study>.py: the one of a part of the paper whose keys are as `where` says."""

    study: str  # with the topics that have the part, as after --config=configs/
    part: str
    where: Mapping[str, Any]
    rivals: tuple[str, ...]
    batches: tuple[int, ...]
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # where it is not quite the arm
    task: str = "train"  # "train" | "infer"


def _kunze(units: int) -> Workload:
    where = {"model.dense": (units,), "model.init_stddev": 0.5}
    return Workload("kunze:units", "dense", where, (FLOAT32, VMAP), (32,))


_RESNET = Workload("report234591:activities", "activities", {"model.family": "resnet18"}, (FLOAT32, BFLOAT16), (128,))
WORKLOADS = {
    "alexander": Workload(
        "alexander:test",
        "test",
        {"schedule.name": "constant", "optimizer.learning_rate": 1e-3},
        (FLOAT32, BFLOAT16, VMAP, FLAX, KERAS),
        (32, 128),
        {"model.norm": ("none",)},  # as in shared/PERFORMANCE.md, so that figures compare
    ),
    "acosta": Workload(  # the largest net of its grid, at the rate that trains it; the paper's own batch
        "acosta:tuned", "paper", {"model.filters": (64, 64), "model.dense": (1024,)}, (FLOAT32, BFLOAT16), (500,)
    ),
    "blagg": Workload(
        "blagg:as_intended,full",
        "sweep",
        {"model.filters": (24, 48, 96), "optimizer.learning_rate": 1e-3, "loss.name": "cross_entropy"},
        (FLOAT32, BFLOAT16),
        (64,),
    ),
    "resnet18": _RESNET,
    "resnet18_inference": dataclasses.replace(_RESNET, batches=(500,), task="infer"),
    **{f"kunze_{units}": _kunze(units) for units in (10, 50, 200, 800)},
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the images are; what it names is the same in every process, so that none has to be sent there."""

    dataset: config.DatasetConfig
    made_up: tuple[tuple[int, int, int], int, int] | None = None  # image shape, classes, images; None: the real ones


@functools.lru_cache(maxsize=2)
def load(source: Source) -> Dataset:
    """The images. Raises UserError or RunError where they cannot be had."""
    if source.made_up:
        return made_up(*source.made_up)
    wanted = source.dataset
    return data.load(wanted.name, data_dir=wanted.data_dir, image_size=wanted.image_size, centre=wanted.centre)


def made_up(shape: tuple[int, int, int], classes: int, size: int) -> Dataset:
    """`size` training and as many test images of noise around a picture a class, for smoke runs and tests."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 128, (classes, *shape))
    labels = rng.integers(0, classes, 2 * size).astype(np.int32)
    images = (pictures[labels] + rng.integers(0, 128, (2 * size, *shape))).astype(np.uint8)
    halves = images[:size], labels[:size], images[size:], labels[size:]
    return Dataset("made up", *halves, tuple(map(str, range(classes))), "", synthetic=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """What all contenders train, or infer with: one network at one batch size."""

    workload: str
    runs: int
    task: str  # "train" | "infer"
    checked: config.Experiment
    static: experiment.Static
    hyper: experiment.Hyper
    source: Source

    @property
    def dataset(self) -> Dataset:
        """The images, loaded by the process that asks."""
        return load(self.source)

    @property
    def batch(self) -> int:
        """Images of a step of one run; of inference, those that the engine takes at once."""
        return self.static.batch_size if self.task == "train" else self.static.eval_batch_size

    @property
    def flops(self) -> int:
        """Of one image."""
        count = models.training_flops if self.task == "train" else models.forward_flops
        return count(self.static.model, self.static.image_shape)

    @property
    def bytes(self) -> float:
        """What must move between memory and a core, an image; the denominator of arithmetic intensity.

        The least there is, float32: in a step of a batch, parameters and optimizer state read and written, gradients
        written and read; of every image each layer's output (after its pooling) written and read. In inference the
        parameters are read, and nothing else of a step is left.
        """
        state = jax.eval_shape(train.make_train(self.static).init, jax.ShapeDtypeStruct((), np.uint32), self.hyper)
        weights, kept = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state.params, state.opt_state))
        a_step = 2 * (weights + kept) + 2 * weights if self.task == "train" else weights
        spec = self.static.model
        outputs = sum(int(np.prod(shape)) for shape in models.feature_shapes(spec, self.static.image_shape))
        outputs += sum(layer.units for layer in spec.dense) + spec.classes
        return 4 * (a_step / self.batch + 2 * outputs)


def study_arm(workload: Workload) -> config.Experiment:
    """The arm itself, as its study trains it.

    Raises:
      ValueError: not one arm, but none or several, are as `where` says.
    """
    name, _, topics = workload.study.partition(":")
    written = importlib.import_module(f"configs.{name}").get_config(topics)
    part = config.parts(config.parse(written))[workload.part]
    found = [arm.experiment for arm in arms.arms_of(part) if _is(arm.experiment, workload.where)]
    if len(found) != 1:
        raise ValueError(f"configs/{name}.py, part {workload.part}: {len(found)} arms with {dict(workload.where)}")
    return found[0]


def _is(arm: config.Experiment, where: Mapping) -> bool:
    flat = config.flatten(arm)
    return all(flat[key] == value for key, value in where.items())


def of_workload(name: str, batch: int, runs: int, *, tiny: bool = False) -> Case:
    """The case of a workload; `tiny` is of little nets and few images of the right shape, for smoke runs."""
    workload = WORKLOADS[name]
    arm = study_arm(workload)
    key = "train.batch_size" if workload.task == "train" else "evaluation.batch_size"
    changes, source = {**workload.changes, key: batch}, Source(arm.dataset)
    if tiny:
        changes |= {"train.batch_size": batch, "evaluation.batch_size": batch}
        shape, classes = ((100, 100, 3), 33) if name == "blagg" else ((28, 28, 1), 10)
        source = Source(arm.dataset, (shape, classes, 4 * batch))
        if arm.model.family == "cnn":
            changes["model.filters"] = (4,) * len(arm.model.filters)
        if arm.model.family != "resnet18":
            changes["model.dense"] = (8,) * len(arm.model.dense)
    return make(name, config.overlay(arm, changes), source, runs, workload.task)


def make(name: str, checked: config.Experiment, source: Source, runs: int, task: str = "train") -> Case:
    """A case of a checked config, on all training images of its source."""
    dataset = load(source)
    shape, size = tuple(dataset.train_images.shape[1:]), len(dataset.train_labels)
    conv = forms.choose_conv("auto", jax.default_backend(), "auto")
    static, hyper = experiment.resolve(checked, shape, len(dataset.class_names), size, conv)
    return Case(name, runs, task, checked, static, hyper, source)
