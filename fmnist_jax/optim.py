"""Optimizers as optax chains over traced hyper-parameters, without the learning rate.

Weight decay is decoupled for adamw and lion (added to the direction, so times the rate, not through the moments:
Loshchilov & Hutter 2019) and an L2 term added to the gradient for all others, as PyTorch's `weight_decay`.
"""

from collections.abc import Callable
from typing import NamedTuple

import optax
from jax.typing import ArrayLike


class OptimizerHyper(NamedTuple):
    """Scalars of every optimizer, traced float32; READS says which ones an optimizer looks at."""

    momentum: ArrayLike
    b1: ArrayLike
    b2: ArrayLike
    decay: ArrayLike
    eps: ArrayLike
    weight_decay: ArrayLike
    initial_accumulator: ArrayLike


def _l2(hyper: OptimizerHyper, direction: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(hyper.weight_decay), direction)


def _decoupled(hyper: OptimizerHyper, direction: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(direction, optax.add_decayed_weights(hyper.weight_decay))


OPTIMIZERS: dict[str, Callable[[OptimizerHyper, bool], optax.GradientTransformation]] = {
    "sgd": lambda h, nesterov: _l2(h, optax.trace(h.momentum, nesterov=nesterov)),
    "adam": lambda h, nesterov: _l2(h, optax.scale_by_adam(h.b1, h.b2, h.eps, nesterov=nesterov)),
    "adamw": lambda h, nesterov: _decoupled(h, optax.scale_by_adam(h.b1, h.b2, h.eps, nesterov=nesterov)),
    "rmsprop": lambda h, nesterov: _l2(h, optax.scale_by_rms(h.decay, h.eps)),
    "adagrad": lambda h, nesterov: _l2(h, optax.scale_by_rss(h.initial_accumulator, h.eps)),
    "lion": lambda h, nesterov: _decoupled(h, optax.scale_by_lion(h.b1, h.b2)),
}

READS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "weight_decay"),
    "adam": ("b1", "b2", "eps", "weight_decay"),
    "adamw": ("b1", "b2", "eps", "weight_decay"),
    "rmsprop": ("decay", "eps", "weight_decay"),
    "adagrad": ("initial_accumulator", "eps", "weight_decay"),
    "lion": ("b1", "b2", "weight_decay"),
}

NESTEROV = frozenset({"sgd", "adam", "adamw"})


def transform(name: str, hyper: OptimizerHyper, *, nesterov: bool = False) -> optax.GradientTransformation:
    """The direction of optimizer `name`, to be built inside the trace: params += -rate * direction.

    Equals optax.<name> with the rate taken out; `nesterov` is Sutskever et al. 2013 for sgd and NAdam (Dozat 2016) for
    adam and adamw. Raises KeyError for an unknown name, ValueError for `nesterov` where there is no such form.
    """
    if nesterov and name not in NESTEROV:
        raise ValueError(f"nesterov=True: {name} has no such form; only {', '.join(sorted(NESTEROV))} have")
    return OPTIMIZERS[name](hyper, nesterov)
