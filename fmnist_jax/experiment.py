"""From a checked config and a data set to the two halves of a run: `Static`, the program, and `Hyper`, its scalars."""

import dataclasses
from typing import NamedTuple

import numpy as np

from fmnist_jax import augment, config, fields, models
from fmnist_jax.augment import AugmentHyper
from fmnist_jax.errors import UserError
from fmnist_jax.optim import OptimizerHyper
from fmnist_jax.schedules import ScheduleHyper

BATCH = "batch"  # the axis of a mesh


class Hyper(NamedTuple):
    """What a new value of never recompiles: a pytree of float32 scalars and one int32 (dropout rates: one a layer)."""

    schedule: ScheduleHyper
    optimizer: OptimizerHyper
    augment: AugmentHyper
    smoothing: np.float32
    dropout: np.ndarray  # [blocks]
    dense_dropout: np.ndarray  # [dense layers]
    leaky_slope: np.float32
    norm_momentum: np.float32
    norm_epsilon: np.float32
    init_scale: np.float32
    init_stddev: np.float32
    mean: np.float32
    std: np.float32
    patience: np.int32
    min_delta: np.float32


@dataclasses.dataclass(frozen=True)
class Static:
    """What changes the compiled program; runs with equal `Static` are one group."""

    model: models.Spec
    image_shape: tuple[int, int, int]
    loss: str
    optimizer: str
    nesterov: bool
    schedule: str
    augment: tuple[str, ...]
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    eval_every: int
    eval_batch_size: int
    top_k: int
    keep_best: bool = False  # the state carries the weights of the evaluation with the best monitor
    early_stop: bool = False
    carry_over: bool = False  # a fold starts from the weights of the fold before; no other program, but another group
    average: bool = False  # the state carries a running average of the weights, which is what is measured
    monitor: str = ""  # "loss" | "accuracy", of the validation set; "" where nothing reads it
    weights: str = ""  # what every run starts from, as model.weights has it; the program is the same
    mesh: int = 1  # devices over which a run's batches are spread


def resolve(
    experiment: config.Experiment, image_shape: tuple[int, int, int], classes: int, train_size: int, conv_method: str
) -> tuple[Static, Hyper]:
    """The two halves of `experiment` on a data set of `train_size` training images (after the split).

    Raises:
      UserError: the keys do not fit each other, or not the data.
    """
    batch_size = experiment.train.batch_size
    if batch_size > train_size:
        raise UserError(
            f"train.batch_size={batch_size}: larger than the training set of {train_size} images; "
            f"take {train_size} or less"
        )
    for key, size in (("train.batch_size", batch_size), ("evaluation.batch_size", experiment.evaluation.batch_size)):
        if size % experiment.mesh:
            raise UserError(
                f"mesh={experiment.mesh}: {key}={size} is no multiple of it; each device takes as much of it"
            )
    try:
        augment.check(experiment.augment.ops, image_shape[-1])
    except ValueError as error:
        raise UserError(f"augment.ops={experiment.augment.ops!r}: {error}") from None
    if experiment.evaluation.top_k > classes:
        raise UserError(
            f"evaluation.top_k={experiment.evaluation.top_k}: there are only {classes} classes; take {classes} or less"
        )
    steps_per_epoch = train_size // batch_size
    if experiment.train.duration.strip().endswith("%"):
        raise UserError(
            f"train.duration={experiment.train.duration!r}: a share of itself; take 'N steps' or 'N epochs'"
        )
    untrained = fields.untrained(experiment.train.duration)
    total_steps = 0 if untrained else fields.steps_of(experiment.train.duration, steps_per_epoch)
    if total_steps > 2**31 - 1:
        raise UserError(f"train.duration={experiment.train.duration!r}: more than {2**31 - 1:,} steps")
    warmup = experiment.schedule.warmup_epochs * steps_per_epoch
    if warmup >= total_steps and not untrained:
        raise UserError(
            f"schedule.warmup_epochs={experiment.schedule.warmup_epochs}: not shorter than the training of "
            f"{total_steps} steps ({total_steps / steps_per_epoch:g} epochs)"
        )
    spec = _spec(experiment.model, classes, conv_method)
    models.feature_shapes(spec, image_shape)  # raises where a kernel does not fit
    static = Static(
        model=spec,
        image_shape=image_shape,
        loss=experiment.loss.name,
        optimizer=experiment.optimizer.name,
        nesterov=experiment.optimizer.nesterov,
        schedule=experiment.schedule.name,
        augment=experiment.augment.ops,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        eval_every=min(max(1, total_steps), fields.steps_of(experiment.train.eval_every, steps_per_epoch, total_steps)),
        eval_batch_size=experiment.evaluation.batch_size,
        top_k=experiment.evaluation.top_k,
        average=experiment.optimizer.average > 0,
        carry_over=experiment.train.carry_over,
        weights=experiment.model.weights,
        mesh=experiment.mesh,
        **_selection(experiment.selection),
    )
    return static, _hyper(experiment, spec)


def _selection(selection: config.SelectionConfig) -> dict:
    keep_best, early_stop = selection.weights == "best", selection.patience > 0
    monitor = selection.monitor.removeprefix("validation_") if keep_best or early_stop else ""
    return {"keep_best": keep_best, "early_stop": early_stop, "monitor": monitor}


def _spec(model: config.ModelConfig, classes: int, conv_method: str) -> models.Spec:
    blocks = len(model.filters) if model.family == "cnn" else 0
    dense = () if model.family == "resnet18" else model.dense

    def per_block(name):
        return _spread(f"model.{name}", getattr(model, name), blocks, "convolution blocks")

    if sorted(model.order) != sorted(config.ORDER):
        raise UserError(f"model.order={model.order!r}: must order 'activation', 'pool' and 'norm', each once")
    if model.family == "cnn" and not model.filters:
        raise UserError(
            "model.filters=(): a cnn needs one convolution block at least; take model.family='mlp' for none"
        )
    names = ("filters", "kernel", "stride", "padding", "activation", "pool", "pool_size", "norm")
    columns = [model.filters if n == "filters" else per_block(n) for n in names] if blocks else []
    return models.Spec(
        family=model.family,
        blocks=tuple(models.ConvBlock(*row, dropout=bool(model.dropout)) for row in zip(*columns, strict=True)),
        order=model.order,
        dense=tuple(
            models.DenseLayer(units, activation, dropout=bool(model.dense_dropout))
            for units, activation in zip(
                dense,
                _spread("model.dense_activation", model.dense_activation, len(dense), "dense layers"),
                strict=True,
            )
        ),
        classes=classes,
        kernel_init=model.kernel_init,
        bias_init=model.bias_init,
        conv_method=conv_method,
        bridge=model.bridge,
        logits_activation=model.logits_activation,
        whiten=model.whiten,
    )


def _spread(key: str, values: tuple, layers: int, what: str) -> tuple:
    """One entry a layer; a tuple of one entry serves all."""
    if len(values) == 1:
        return values * layers
    if len(values) != layers:
        raise UserError(f"{key}={values!r}: needs 1 entry or {layers}, one for each of the {what}")
    return values


def _hyper(experiment: config.Experiment, spec: models.Spec) -> Hyper:
    def scalars(cls, section):
        return cls(*(np.float32(getattr(section, name)) for name in cls._fields))

    def rates(key, layers, what):
        values = getattr(experiment.model, key)
        return np.array(_spread(f"model.{key}", values or (0.0,), layers, what), np.float32)

    schedule = {name: np.float32(getattr(experiment.schedule, name)) for name in ScheduleHyper._fields[1:]}
    return Hyper(
        schedule=ScheduleHyper(learning_rate=np.float32(experiment.optimizer.learning_rate), **schedule),
        optimizer=scalars(OptimizerHyper, experiment.optimizer),
        augment=scalars(AugmentHyper, experiment.augment),
        smoothing=np.float32(experiment.loss.smoothing),
        dropout=rates("dropout", len(spec.blocks), "convolution blocks"),
        dense_dropout=rates("dense_dropout", len(spec.dense), "dense layers"),
        **{
            name: np.float32(getattr(experiment.model, name))
            for name in ("leaky_slope", "norm_momentum", "norm_epsilon", "init_scale", "init_stddev")
        },
        mean=np.float32(experiment.dataset.mean),
        std=np.float32(experiment.dataset.std),
        patience=np.int32(experiment.selection.patience),
        min_delta=np.float32(experiment.selection.min_delta),
    )
