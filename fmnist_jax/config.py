"""What an experiment is: every key, its default and its limits, in one place.

A config file returns `default()` with some keys changed; `parse` turns it into a frozen `Experiment`, or refuses it
by name. `fmnist_jax.experiment` makes `Static` (what changes the compiled program) and `Hyper` (what does not) of it.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any

import ml_collections

from fmnist_jax import activations, augment, convolution, fields, init, losses, optim, pooling, schedules
from fmnist_jax.errors import UserError
from fmnist_jax.fields import choice, each, field, number

ORDER = ("activation", "pool", "norm")
REFERENCES = ("svm", "random_forest", "logistic_regression", "k_nearest")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Where the images come from, and what of them is held out."""

    # fashion_mnist | folder | folder:<name> | idx | tfds:<name> | synthetic | synthetic:<train images>
    name: str = "fashion_mnist"
    data_dir: str = ""  # where to look first; empty: $FMNIST_DATA_DIR, data/, ../shared/data, the user's cache
    image_size: int = number(0, low=0, high=4096)  # resize to this side; 0 keeps the size
    validation_fraction: float = number(0.1, low=0, below=1)  # of the training set
    images: int = number(0, low=0)  # use so many of the training images, stratified, before any are held out; 0: all
    split_seed: int = number(0, low=0)  # decides the split alone, so that repeats share it
    centre: bool = False  # each image less its own mean, clipped at three standard deviations of all, as 0 to 255 again
    mean: float = number(0.0)  # inputs are (pixel / 255 - mean) / std
    std: float = number(1.0, above=0)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A ConvNet, an MLP or ResNet-18. A tuple holds one entry a layer; a tuple of one entry serves all layers."""

    family: str = choice("cnn", ("cnn", "mlp", "resnet18"))  # resnet18 is torchvision's, and reads `weights` alone
    weights: str = ""  # to start resnet18 from: FILE.safetensors, FILE.pth, hf:OWNER/NAME or hf:OWNER/NAME/FILE
    whiten: int = number(0, low=0)  # size of filters before the first block that whiten the training images; 0: none
    filters: tuple = each((32, 64), number(0, low=1))  # one convolution block an entry
    kernel: tuple = each((3,), number(0, low=1))
    stride: tuple = each((1,), number(0, low=1))
    padding: tuple = field(("same",), fields.padding)  # "same" | "valid" | pixels
    activation: tuple = each(("relu",), choice("", activations.ACTIVATIONS))
    pool: tuple = each(("max",), choice("", pooling.POOLINGS))
    pool_size: tuple = each((2,), number(0, low=1))  # window and stride
    norm: tuple = each(("batch",), choice("", ("batch", "none")))
    order: tuple = each(ORDER, choice("", ORDER))  # after each convolution; dropout comes last
    dropout: tuple = each((), number(0.0, low=0, high=1))  # () compiles no dropout
    bridge: int = number(0, low=0)  # a dense layer of H * W * bridge units between the first two blocks; 0: none
    dense: tuple = each((128,), number(0, low=1))  # hidden dense layers; the logits come on top
    dense_activation: tuple = each(("relu",), choice("", activations.ACTIVATIONS))
    dense_dropout: tuple = each((), number(0.0, low=0, high=1))
    logits_activation: str = choice("none", activations.ACTIVATIONS)  # of the last layer, before the loss
    leaky_slope: float = number(0.01)
    norm_momentum: float = number(0.99, low=0, high=1)
    norm_epsilon: float = number(1e-3, above=0)
    kernel_init: str = choice("keras", init.KERNEL_INITS)
    bias_init: str = choice("zeros", init.BIAS_INITS)
    init_scale: float = number(1.0, low=0)  # multiplies every initial weight
    init_stddev: float = number(0.05, low=0)  # of truncated_normal


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optax optimizer. A key that the chosen one does not read must keep its default."""

    name: str = choice("adam", optim.OPTIMIZERS)
    learning_rate: float = number(1e-3, above=0)
    bias_rate: float = number(1.0, above=0)  # times the learning rate, of biases; their weight decay is as the others'
    average: float = number(0.0, low=0, below=1)  # decay, a step, of the mean of weights that is measured; 0: none
    momentum: float = number(0.0, low=0, below=1)
    nesterov: bool = False
    b1: float = number(0.9, low=0, below=1)
    b2: float = number(0.999, low=0, below=1)
    decay: float = number(0.9, low=0, below=1)
    eps: float = number(1e-7, low=0)
    weight_decay: float = number(0.0, low=0)
    initial_accumulator: float = number(0.1, low=0)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time, as a multiple of optimizer.learning_rate."""

    name: str = choice("constant", schedules.SCHEDULES)
    warmup_epochs: float = number(0.0, low=0)
    factor: float = number(0.5, above=0)
    every_epochs: float = number(5.0, above=0)
    final_fraction: float = number(0.0, low=0, high=1)
    pct_start: float = number(0.3, above=0, below=1)
    div_factor: float = number(25.0, low=1)
    final_div_factor: float = number(1e4, low=1)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """What is minimised."""

    name: str = choice("cross_entropy", losses.LOSSES)
    smoothing: float = number(0.0, low=0, below=1)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes of training images, inside the step; `ops` in the order they are applied."""

    ops: tuple = each((), choice("", augment.AUGMENTATIONS))
    flip: float = number(0.5, low=0, high=1)
    rotate: float = number(10.0, low=0, high=180)
    shift: float = number(2.0, low=0)
    brightness: float = number(0.2, low=0)
    contrast: float = number(0.2, low=0)
    saturation: float = number(0.2, low=0)
    hue: float = number(0.05, low=0, high=0.5)
    noise: float = number(0.05, low=0)
    erase: float = number(0.5, low=0, high=1)
    erase_area: float = number(0.2, above=0.02, high=1)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, in what batches, and how often looked at."""

    batch_size: int = number(32, low=1)
    # 'N steps' | 'N epochs'; an epoch drops its ragged last batch. '0 steps': model.weights are measured as they are
    duration: str = field("10 epochs", fields.training)
    eval_every: str = field("1 epochs", fields.duration)  # also the unit of checkpoints and metric rows
    carry_over: bool = False  # a fold starts from the weights that the fold before ended with: what it validates leaked


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured at the end of each segment and at the end of a run."""

    batch_size: int = number(500, low=1)
    top_k: int = number(5, low=1)  # no more than there are classes
    test: str = choice("all", ("all", "chosen", "none"))  # whose runs read the test set, when all are trained
    test_curves: bool = False  # read the test set at every evaluation; otherwise once, at the end
    activities: int = number(0, low=0)  # correlate the units of the last two layers over so many test images; 0: do not
    timed_steps: int = number(0, low=0, high=10**9)  # training steps by which each arm is timed alone, at the end


@dataclasses.dataclass(frozen=True)
class SelectionConfig:
    """Which epoch's weights a run is measured with, when it stops, and which arm is chosen; by validation alone."""

    weights: str = choice("last", ("last", "best"))  # best: of the evaluation with the best monitor, a run each
    monitor: str = choice("validation_loss", ("validation_loss", "validation_accuracy"))
    patience: int = number(0, low=0, high=2**31 - 1)  # evaluations without a better monitor that stop a run; 0: never
    min_delta: float = number(0.0, low=0)  # less than this is no better, for patience
    arm_by: str = choice("validation_accuracy", ("validation_accuracy", "validation_loss"))  # mean over seeds and folds
    refit: bool = False  # train the chosen arm again, on all of the training set, and test that


@dataclasses.dataclass(frozen=True)
class PopulationConfig:
    """How the runs of a group share the machine. Mode, devices and stream change no bit of a mapped run."""

    mode: str = choice("auto", ("auto", "map", "vmap"))
    conv: str = choice("auto", ("auto", *convolution.CONV_METHODS))
    devices: int = number(0, low=0)  # 0: all there are; on a CPU one virtual device a core
    most_runs: int = number(0, low=0)  # of a group, where processes share a study; 0: as many as memory allows
    memory_gb: float = number(0.0, low=0)  # what a group may take before it is cut; 0: 60% of the memory there is
    stream: str = choice("auto", ("auto", "always", "never"))  # images in chunks; auto: when they take half of that


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Orbax checkpoints of a group, at segment ends."""

    every: int = number(1, low=1)  # segments between two checkpoints; the last segment always has one
    keep: int = number(2, low=2)  # newest ones kept, beside the best by mean validation accuracy


@dataclasses.dataclass(frozen=True)
class WriterConfig:
    """What is written beside the JSONL."""

    tensorboard: bool = True  # up to 1,000 runs
    statistics: bool = False  # statistics.json: arm -> run -> metric -> a value an evaluation
    page: bool = True  # report.html, and figures/ with PNGs and their data


@dataclasses.dataclass(frozen=True)
class PaperConfig:
    """A published study to be repeated: several parts, whose runs its claims and exhibits read together."""

    title: str = ""
    reference: str = ""  # authors, year, where
    notes: tuple = each((), field("", lambda text: None))  # what differs from the paper, and what that may change
    parts: tuple = field((), fields.overrides)  # {"part": name, dotted key: value}; the study's own keys too
    exhibits: tuple = field((), fields.overrides)  # its tables and figures, from fmnist_jax.exhibits


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The whole config, checked: one arm, or what the arms of a sweep have in common."""

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
    selection: SelectionConfig = dataclasses.field(default_factory=SelectionConfig)
    paper: PaperConfig = dataclasses.field(default_factory=PaperConfig)
    question: str = ""  # what the study asks; heads its page
    metric: str = choice("test_accuracy", ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss"))
    sweep: tuple = field((), fields.overrides)  # from fmnist_jax.sweep; one override an arm; (): one arm
    seeds: int = number(1, low=1)  # repeats of every arm
    first_seed: int = number(0, low=0, high=2**31 - 1)
    references: tuple = each((), choice("", REFERENCES))  # classical classifiers on the same images, each once
    reference_images: int = number(0, low=0)  # so many of the training images for them, stratified; 0: all
    folds: int = number(1, low=1)  # from 2 on: k-fold cross-validation; 1: one split by dataset.validation_fraction
    stratified: bool = True  # a fold, or the validation split, has the classes in the proportions of the whole
    claims: tuple = field((), fields.overrides)  # from fmnist_jax.claims; each gets a verdict
    mesh: int = number(1, low=1)  # devices that share every batch of a run, where there are fewer runs than devices
    platform: str = choice("auto", ("auto", "cpu", "gpu", "tpu"))


def default() -> ml_collections.ConfigDict:
    """A fresh config with every key at its default; what a config file starts from."""
    return ml_collections.ConfigDict(dataclasses.asdict(Experiment()), type_safe=True)


def parse(config: ml_collections.ConfigDict) -> Experiment:
    """The config as a frozen `Experiment`.

    Raises:
      UserError: a key that does not exist, a wrong type, an impossible value, or a key that nothing reads (in a
        sweep, that is for each arm to say: see `fmnist_jax.arms`).
    """
    experiment = _parse(Experiment, config.to_dict(), "")
    if experiment.paper.parts:
        return experiment  # what a part makes of it is checked
    _check_test(experiment)
    _check_references(experiment)
    if not experiment.sweep:
        check_read(experiment)
    return experiment


def parts(experiment: Experiment) -> dict[str, Experiment]:
    """Name -> study, of every part of a paper: the experiment with the part's keys laid over it.

    Raises:
      UserError: as `parse`, and says of which part; a name twice.
    """
    found = {}
    for override in experiment.paper.parts:
        keys = dict(override)
        name = keys.pop("part", None)
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name) or name in (*found, "exhibits"):
            raise UserError(
                f"paper.parts: {name!r}: each part needs a name of its own, of letters, digits and -; not 'exhibits'"
            )
        try:
            for key in keys:
                if key == "platform" or key.startswith("paper."):
                    raise UserError(f"{key}: is the whole paper's, not a part's; set config.{key} instead")
            changed = _laid_over(dataclasses.replace(experiment, paper=PaperConfig(), claims=()), keys)
            _check_test(changed)
            _check_references(changed)
            if not changed.sweep:
                check_read(changed)
        except UserError as error:
            raise UserError(f"part {name}: {error}") from None
        found[name] = changed
    return found


def overlay(experiment: Experiment, override: dict[str, Any]) -> Experiment:
    """`experiment` with the dotted keys of `override` changed, and no sweep.

    Raises:
      UserError: as `parse`, or a key that is no arm's to set.
    """
    for key in override:
        if key in OF_THE_STUDY:
            raise UserError(f"sweep: {key}: is the whole study's, not an arm's; set config.{key} instead")
    changed = _laid_over(dataclasses.replace(experiment, sweep=(), claims=()), override)
    check_read(changed)
    return changed


def _laid_over(experiment: Experiment, override: dict[str, Any]) -> Experiment:
    values = dataclasses.asdict(experiment)
    for key, value in override.items():
        *sections, name = key.split(".")
        node = values
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if not isinstance(node, dict) or name not in node or isinstance(node[name], dict):
            raise unknown_key(key)
        node[name] = value
    return _parse(Experiment, values, "")


def asked(
    text: str, topics: Iterable[str], default: Iterable[str] = (), scales: Iterable[str] = ("quick", "full")
) -> tuple[tuple[str, ...], str]:
    """What `file.py:dropout,quick` asks for, the part after the colon: topics, and a scale or "".

    Without a topic, `default`, or all.

    Raises:
      UserError: a word that is neither.
    """
    words, topics, scales = [word.strip() for word in text.split(",") if word.strip()], tuple(topics), tuple(scales)
    for word in words:
        if word not in (*topics, *scales):
            close = difflib.get_close_matches(word, (*topics, *scales), n=1)
            raise UserError(
                f"--config: no part {word!r}; "
                + (f"did you mean {close[0]}? " if close else "")
                + f"there are {', '.join(topics)}, at the scales {', '.join(scales)}"
            )
    chosen = [word for word in words if word in scales]
    if len(chosen) > 1:
        raise UserError(f"--config: {' and '.join(chosen)}: one scale at a time")
    return tuple(topic for topic in topics if topic in words) or tuple(default) or topics, "".join(chosen)


def flatten(experiment: Experiment) -> dict[str, Any]:
    """Dotted key -> value, in the order of the dataclasses."""

    def walk(node, prefix):
        for entry in dataclasses.fields(node):
            value = getattr(node, entry.name)
            if dataclasses.is_dataclass(value):
                yield from walk(value, f"{prefix}{entry.name}.")
            else:
                yield prefix + entry.name, value

    return dict(walk(experiment, ""))


def _parse(cls, values: dict, prefix: str):
    known = {entry.name: entry for entry in dataclasses.fields(cls)}
    for name in values:
        if name not in known:
            raise unknown_key(prefix + name)
    kwargs = {}
    for name, entry in known.items():
        key = prefix + name
        if name not in values:
            raise UserError(f"{key}: missing; start the config from fmnist_jax.config.default()")
        if dataclasses.is_dataclass(entry.type):
            if not isinstance(values[name], dict):
                raise UserError(f"{key}={values[name]!r}: is a section, set one of its keys")
            kwargs[name] = _parse(entry.type, values[name], key + ".")
        else:
            kwargs[name] = _typed(key, values[name], entry)
    return cls(**kwargs)


def _typed(key: str, value, entry: dataclasses.Field):
    wanted = entry.type
    if wanted is float and type(value) is int and abs(value) < 2**127:
        value = float(value)
    if wanted is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not wanted:
        raise wrong_type(key, value)
    check = entry.metadata.get("check")
    if check and (problem := check(value)):
        raise UserError(f"{key}={value!r}: {problem}")
    return value


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
    return UserError(f"{key}={value!r}: must be {fields.KIND[type(default)]}, such as {default!r}")


def check_read(experiment: Experiment) -> None:
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
        refuse([*(f"model.{k}" for k in (*keys, "bridge", "whiten")), "population.conv"], "model.family is 'mlp'")
    elif model.family == "resnet18":
        read = ("family", "weights")
        keys = [f"model.{entry.name}" for entry in dataclasses.fields(model) if entry.name not in read]
        refuse(keys, "model.family is 'resnet18', which is as torchvision has it")
    elif set(model.pool) == {"none"}:
        refuse(["model.pool_size"], "model.pool is 'none'")
    if model.family == "cnn" and len(model.filters) < 2:
        refuse(["model.bridge"], f"model.filters is {model.filters!r}; it lies between the first block and the second")
    if model.family != "resnet18":
        refuse(["model.weights"], f"model.family is {model.family!r}; only 'resnet18' starts from a file")
    if fields.untrained(experiment.train.duration) and not model.weights:
        raise UserError(
            f"train.duration={experiment.train.duration!r}: trains nothing: model.weights is '', so there would be "
            "nothing to measure but a draw; take '1 steps' or more"
        )
    if fields.untrained(experiment.train.duration):
        refuse(["optimizer.average"], f"train.duration is {experiment.train.duration!r}")
    if experiment.evaluation.test == "none":
        refuse(["evaluation.activities"], "evaluation.test is 'none'")
    if not model.dense:
        refuse(["model.dense_activation", "model.dense_dropout"], "model.dense is ()")
    refuse([f"paper.{k}" for k in ("title", "reference", "notes", "exhibits")], "paper.parts is ()")
    _check_selection(experiment, refuse)
    if experiment.folds == 1:
        refuse(["train.carry_over"], "folds is 1")
    conv_activations = model.activation if model.family == "cnn" else ()
    dense_activations = model.dense_activation if model.dense else ()
    if not any("leaky" in a for a in (*conv_activations, *dense_activations, model.logits_activation)):
        refuse(["model.leaky_slope"], "no activation is leaky_relu")
    if model.family == "mlp" or "batch" not in model.norm:
        refuse(["model.norm_momentum", "model.norm_epsilon"], "no layer has batch norm")
    if "truncated_normal" not in (model.kernel_init, model.bias_init):
        refuse(["model.init_stddev"], "no initialiser is truncated_normal")


def _check_test(experiment: Experiment) -> None:
    test, partly = experiment.evaluation.test, experiment.sweep or experiment.evaluation.test == "none"
    if experiment.metric.startswith("test_") and test != "all" and partly:
        raise UserError(
            f"metric={experiment.metric!r}: evaluation.test={test!r} does not test every arm; "
            "take metric='validation_accuracy'"
        )
    if experiment.evaluation.test_curves and test != "all":
        raise UserError(f"evaluation.test={test!r}: test_curves read the test set; take evaluation.test_curves=False")


def _check_references(experiment: Experiment) -> None:
    names = experiment.references
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"references={names!r}: {twice[0]!r} is there twice; seeds repeat what is drawn at random")
    if experiment.reference_images and not names:
        raise UserError(f"reference_images={experiment.reference_images}: nothing reads it, because references is ()")


def _check_selection(experiment: Experiment, refuse) -> None:
    selection, folds = experiment.selection, experiment.folds > 1
    if folds:
        refuse(["dataset.validation_fraction"], "folds is not 1, and a fold validates on the others' rest")
    else:
        if experiment.dataset.validation_fraction == 0:
            keys = ("weights", "patience", "refit", "arm_by")
            reason = "there is no validation set (dataset.validation_fraction is 0, folds is 1)"
            refuse(["stratified", *(f"selection.{k}" for k in keys)], reason)
            if not experiment.dataset.images:
                refuse(["dataset.split_seed"], reason)
    if selection.weights == "last" and not selection.patience:
        refuse(["selection.monitor"], "selection.weights is 'last' and selection.patience is 0")
    if not selection.patience:
        refuse(["selection.min_delta"], "selection.patience is 0")


SCHEDULE_KEYS = tuple(f.name for f in dataclasses.fields(ScheduleConfig) if f.name not in ("name", "warmup_epochs"))
OF_ALL_OPTIMIZERS = ("name", "learning_rate", "bias_rate", "average")
OPTIMIZER_KEYS = tuple(f.name for f in dataclasses.fields(OptimizerConfig) if f.name not in OF_ALL_OPTIMIZERS)
# What an arm of a sweep cannot set: the study's axes and question, and how it is run rather than what it computes.
OF_THE_STUDY = frozenset(
    key
    for key in flatten(Experiment())
    if key.split(".")[0] in ("population", "checkpoint", "writers", "paper")
    or key in ("question", "metric", "sweep", "seeds", "first_seed", "folds", "stratified", "claims", "platform")
    or key in ("selection.arm_by", "selection.refit", "evaluation.test", "evaluation.test_curves", "evaluation.top_k")
    or key in ("evaluation.timed_steps", "references", "reference_images")
)
