"""What an experiment is: every key, its default and its limits, in one place.

A config file returns `default()` with some keys changed; `parse` turns it into a frozen `Experiment`, or refuses it
by name. `fmnist_jax.experiment` makes `Static` (what changes the compiled program) and `Hyper` (what does not) of it.
"""

import dataclasses
import difflib
import math
import re
from typing import Any

import ml_collections
import numpy as np

from fmnist_jax import augment, init, layers, losses, optim, schedules
from fmnist_jax.errors import UserError


def _field(default, check=None):
    return dataclasses.field(default=default, metadata={"check": check})


def _choice(default, options):
    names = ", ".join(map(str, options))

    def check(value):
        if value in options:
            return None
        close = difflib.get_close_matches(str(value), map(str, options), n=1)
        return (f"did you mean {close[0]!r}? " if close else "") + f"one of {names}"

    return _field(default, check)


def _number(default, low=-math.inf, high=math.inf, above=None, below=None):
    """A number in [low, high], or in an interval open at `above` or `below`."""

    def check(value):
        if isinstance(value, float):
            with np.errstate(over="ignore"):
                value = float(np.float32(value))  # what a run will see of it
        if not math.isfinite(value):
            return "must be a finite number"
        if above is not None and value <= above:
            return f"must be above {above}"
        if below is not None and value >= below:
            return f"must be below {below}"
        if value < low:
            return f"must be at least {low}"
        if value > high:
            return f"must be at most {high}"
        return None

    return _field(default, check)


def _each(default, one):
    """A tuple whose every entry passes the check of the field `one`."""

    def check(value):
        for entry in value:
            if type(entry) not in ((int, float) if isinstance(one.default, float) else (type(one.default),)):
                return f"holds {entry!r}, where {_ARTICLES[type(one.default)]} belongs"
            if problem := one.metadata["check"](entry):
                return problem
        return None

    return _field(default, check)


def _padding_check(values):
    good = all(
        value in ("same", "valid") if isinstance(value, str) else type(value) is int and value >= 0 for value in values
    )
    return None if good else "'same', 'valid' or a number of pixels"


_DURATION = re.compile(r"\s*([0-9.]+)\s*(steps?|epochs?|%)\s*")


def _duration_check(text):
    found = _DURATION.fullmatch(text)
    if not found or found[1].count(".") > 1 or found[1] == ".":
        return "a number and a unit, such as '500 steps' or '3 epochs'"
    if float(found[1]) == 0:
        return "must be more than zero"
    if found[2].startswith("step") and not float(found[1]).is_integer():
        return "must be a whole number of steps"
    return None


def steps_of(text: str, steps_per_epoch: int, total_steps: int | None = None) -> int:
    """'500 steps', '3 epochs' or '10%' (of total_steps) as a number of steps, at least 1."""
    number, unit = _DURATION.fullmatch(text).groups()
    scale = 1 if unit.startswith("step") else steps_per_epoch if unit.startswith("epoch") else total_steps / 100
    return max(1, round(float(number) * scale))


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Where the images come from, and what of them is held out."""

    name: str = "fashion_mnist"  # fashion_mnist | folder | idx | tfds:<name> | synthetic | synthetic:<train images>
    data_dir: str = ""  # where to look first; empty: $FMNIST_DATA_DIR, data/, ../shared/data, the user's cache
    image_size: int = _number(0, low=0, high=4096)  # resize to this side; 0 keeps the size
    validation_fraction: float = _number(0.1, low=0, below=1)  # of the training set, stratified
    split_seed: int = _number(0, low=0)  # decides the split alone, so that repeats share it
    mean: float = _number(0.0)  # inputs are (pixel / 255 - mean) / std
    std: float = _number(1.0, above=0)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A ConvNet or an MLP. A tuple holds one entry a layer; a tuple of one entry serves all layers."""

    family: str = _choice("cnn", ("cnn", "mlp"))
    filters: tuple = _each((32, 64), _number(0, low=1))  # one convolution block an entry
    kernel: tuple = _each((3,), _number(0, low=1))
    stride: tuple = _each((1,), _number(0, low=1))
    padding: tuple = _field(("same",), _padding_check)  # "same" | "valid" | pixels
    activation: tuple = _each(("relu",), _choice("", layers.ACTIVATIONS))
    pool: tuple = _each(("max",), _choice("", layers.POOLINGS))
    pool_size: tuple = _each((2,), _number(0, low=1))  # window and stride
    norm: tuple = _each(("batch",), _choice("", ("batch", "none")))
    order: tuple = _each(
        ("activation", "pool", "norm"), _choice("", ("activation", "pool", "norm"))
    )  # after each convolution; dropout comes last
    dropout: tuple = _each((), _number(0.0, low=0, high=1))  # () compiles no dropout
    dense: tuple = _each((128,), _number(0, low=1))  # hidden dense layers; the logits come on top
    dense_activation: tuple = _each(("relu",), _choice("", layers.ACTIVATIONS))
    dense_dropout: tuple = _each((), _number(0.0, low=0, high=1))
    leaky_slope: float = _number(0.01)
    norm_momentum: float = _number(0.99, low=0, high=1)
    norm_epsilon: float = _number(1e-3, above=0)
    kernel_init: str = _choice("keras", init.KERNEL_INITS)
    bias_init: str = _choice("zeros", init.BIAS_INITS)
    init_scale: float = _number(1.0, low=0)  # multiplies every initial weight
    init_stddev: float = _number(0.05, low=0)  # of truncated_normal


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optax optimizer. A key that the chosen one does not read must keep its default."""

    name: str = _choice("adam", optim.OPTIMIZERS)
    learning_rate: float = _number(1e-3, above=0)
    momentum: float = _number(0.0, low=0, below=1)
    nesterov: bool = False
    b1: float = _number(0.9, low=0, below=1)
    b2: float = _number(0.999, low=0, below=1)
    decay: float = _number(0.9, low=0, below=1)
    eps: float = _number(1e-7, low=0)
    weight_decay: float = _number(0.0, low=0)
    initial_accumulator: float = _number(0.1, low=0)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time, as a multiple of optimizer.learning_rate."""

    name: str = _choice("constant", schedules.SCHEDULES)
    warmup_epochs: float = _number(0.0, low=0)
    factor: float = _number(0.5, above=0)
    every_epochs: float = _number(5.0, above=0)
    final_fraction: float = _number(0.0, low=0, high=1)
    pct_start: float = _number(0.3, above=0, below=1)
    div_factor: float = _number(25.0, low=1)
    final_div_factor: float = _number(1e4, low=1)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """What is minimised."""

    name: str = _choice("cross_entropy", losses.LOSSES)
    smoothing: float = _number(0.0, low=0, below=1)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes of training images, inside the step; `ops` in the order they are applied."""

    ops: tuple = _each((), _choice("", augment.AUGMENTATIONS))
    flip: float = _number(0.5, low=0, high=1)
    rotate: float = _number(10.0, low=0, high=180)
    shift: float = _number(2.0, low=0)
    brightness: float = _number(0.2, low=0)
    contrast: float = _number(0.2, low=0)
    saturation: float = _number(0.2, low=0)
    hue: float = _number(0.05, low=0, high=0.5)
    noise: float = _number(0.05, low=0)
    erase: float = _number(0.5, low=0, high=1)
    erase_area: float = _number(0.2, above=0.02, high=1)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, in what batches, and how often looked at."""

    batch_size: int = _number(32, low=1)
    duration: str = _field("10 epochs", _duration_check)  # 'N steps' | 'N epochs'; an epoch drops its ragged last batch
    eval_every: str = _field("1 epochs", _duration_check)  # also the unit of checkpoints and metric rows


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured at the end of each segment and at the end of a run."""

    batch_size: int = _number(500, low=1)
    top_k: int = _number(5, low=1)  # no more than there are classes
    test_curves: bool = False  # read the test set at every evaluation; otherwise once, at the end


@dataclasses.dataclass(frozen=True)
class PopulationConfig:
    """How the runs of a group share the machine. None of it changes what a mapped run computes."""

    mode: str = _choice("auto", ("auto", "map", "vmap"))
    conv: str = _choice("auto", ("auto", *layers.CONV_METHODS))
    devices: int = _number(0, low=0)  # 0: all there are; on a CPU one virtual device a core


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Orbax checkpoints of a group, at segment ends."""

    every: int = _number(1, low=1)  # segments between two checkpoints; the last segment always has one
    keep: int = _number(2, low=2)  # newest ones kept, beside the best by mean validation accuracy


@dataclasses.dataclass(frozen=True)
class WriterConfig:
    """What is written beside the JSONL."""

    tensorboard: bool = True


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One arm, repeated: the whole config, checked."""

    dataset: DatasetConfig = dataclasses.field(default_factory=DatasetConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    population: PopulationConfig = dataclasses.field(default_factory=PopulationConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    writers: WriterConfig = dataclasses.field(default_factory=WriterConfig)
    seeds: int = _number(1, low=1)  # repeats
    first_seed: int = _number(0, low=0, high=2**31 - 1)
    platform: str = _choice("auto", ("auto", "cpu", "gpu", "tpu"))


def default() -> ml_collections.ConfigDict:
    """A fresh config with every key at its default; what a config file starts from."""
    return ml_collections.ConfigDict(dataclasses.asdict(Experiment()), type_safe=True)


def parse(config: ml_collections.ConfigDict) -> Experiment:
    """The config as a frozen `Experiment`.

    Raises:
      UserError: a key that does not exist, a wrong type, an impossible value, or a key that nothing reads.
    """
    experiment = _parse(Experiment, config.to_dict(), "")
    _check_read(experiment)
    return experiment


def flatten(experiment: Experiment) -> dict[str, Any]:
    """Dotted key -> value, in the order of the dataclasses."""

    def walk(node, prefix):
        for field in dataclasses.fields(node):
            value = getattr(node, field.name)
            if dataclasses.is_dataclass(value):
                yield from walk(value, f"{prefix}{field.name}.")
            else:
                yield prefix + field.name, value

    return dict(walk(experiment, ""))


def _parse(cls, values: dict, prefix: str):
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise unknown_key(prefix + name)
    kwargs = {}
    for name, field in fields.items():
        key = prefix + name
        if name not in values:
            raise UserError(f"{key}: missing; start the config from fmnist_jax.config.default()")
        if dataclasses.is_dataclass(field.type):
            if not isinstance(values[name], dict):
                raise UserError(f"{key}={values[name]!r}: is a section, set one of its keys")
            kwargs[name] = _parse(field.type, values[name], key + ".")
        else:
            kwargs[name] = _typed(key, values[name], field)
    return cls(**kwargs)


def _typed(key: str, value, field):
    wanted = field.type
    if wanted is float and type(value) is int and abs(value) < 2**127:
        value = float(value)
    if wanted is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not wanted:
        raise wrong_type(key, value)
    check = field.metadata.get("check")
    if check and (problem := check(value)):
        raise UserError(f"{key}={value!r}: {problem}")
    return value


_ARTICLES = {int: "a whole number", float: "a number", str: "a string", bool: "True or False", tuple: "a tuple"}


def unknown_key(key: str) -> UserError:
    """The error for a dotted key that no part of an experiment has, with the nearest that one has."""
    known = list(flatten(Experiment()))
    same_leaf = [k for k in known if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    if inside := [k for k in known if k.startswith(key + ".")]:
        return UserError(f"{key}: a section, not a key; set {', '.join(inside)}")
    section, _, leaf = key.rpartition(".")
    there = [k for k in known if k.rpartition(".")[0] == section] or known
    nearest = difflib.get_close_matches(leaf, [k.rsplit(".", 1)[-1] for k in there], n=1, cutoff=0.7)
    if close := same_leaf or [k for k in there if nearest and k.rsplit(".", 1)[-1] == nearest[0]]:
        return UserError(f"{key}: no such key; did you mean {close[0]}?")
    return UserError(f"{key}: no such key; there are {', '.join(there)}")


def wrong_type(key: str, value) -> UserError:
    """The error for a value that is not of its key's type."""
    default = flatten(Experiment())[key]
    return UserError(f"{key}={value!r}: must be {_ARTICLES[type(default)]}, such as {default!r}")


def _check_read(experiment: Experiment) -> None:
    """Refuses a key set to something other than its default that the chosen family does not read."""
    flat, defaults = flatten(experiment), flatten(Experiment())

    def refuse(keys, reason):
        for key in keys:
            if flat[key] != defaults[key]:
                raise UserError(f"{key}={flat[key]!r}: nothing reads it, because {reason}")

    name = experiment.optimizer.name
    read = (*optim.READS[name], *(("nesterov",) if name in optim.NESTEROV else ()))
    unread = [k for k in OPTIMIZER_KEYS if k not in read]
    refuse([f"optimizer.{k}" for k in unread], f"optimizer.name is {name!r}, which reads {', '.join(read)}")

    name = experiment.schedule.name
    unread = [k for k in SCHEDULE_KEYS if k not in schedules.READS[name]]
    refuse([f"schedule.{k}" for k in unread], f"schedule.name is {name!r}")

    ops = experiment.augment.ops
    read = {key for op in ops for key in augment.READS[op]}
    unread = [k for k in augment.AugmentHyper._fields if k not in read]
    refuse([f"augment.{k}" for k in unread], f"augment.ops is {ops!r}")

    model = experiment.model
    if model.family == "mlp":
        keys = ("filters", "kernel", "stride", "padding", "activation", "pool", "pool_size", "norm", "order", "dropout")
        refuse([*(f"model.{k}" for k in keys), "population.conv"], "model.family is 'mlp'")
    elif set(model.pool) == {"none"}:
        refuse(["model.pool_size"], "model.pool is 'none'")
    if not model.dense:
        refuse(["model.dense_activation", "model.dense_dropout"], "model.dense is ()")
    if experiment.dataset.validation_fraction == 0:
        refuse(["dataset.split_seed"], "dataset.validation_fraction is 0")
    conv_activations = model.activation if model.family == "cnn" else ()
    dense_activations = model.dense_activation if model.dense else ()
    if not any("leaky" in a for a in (*conv_activations, *dense_activations)):
        refuse(["model.leaky_slope"], "no activation is leaky_relu")
    if model.family == "mlp" or "batch" not in model.norm:
        refuse(["model.norm_momentum", "model.norm_epsilon"], "no layer has batch norm")
    if "truncated_normal" not in (model.kernel_init, model.bias_init):
        refuse(["model.init_stddev"], "no initialiser is truncated_normal")


SCHEDULE_KEYS = tuple(f.name for f in dataclasses.fields(ScheduleConfig) if f.name not in ("name", "warmup_epochs"))
OPTIMIZER_KEYS = tuple(f.name for f in dataclasses.fields(OptimizerConfig) if f.name not in ("name", "learning_rate"))
