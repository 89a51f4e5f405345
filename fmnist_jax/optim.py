"""Optimizers as optax chains over traced hyper-parameters, without the learning rate.

Weight decay is decoupled for adamw and lion (added to the direction, so times the rate, not through the moments:
Loshchilov & Hutter 2019) and an L2 term added to the gradient for all others, as PyTorch's `weight_decay`.

Biases, those of batch norm too, may have a rate of their own, a multiple of the others'. As in airbench (Jordan 2024)
they are not decayed the more for it: their weight decay is divided by as much.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax
from jax.typing import ArrayLike


class OptimizerHyper(NamedTuple):
    """Scalars of every optimizer, traced float32; READS says which ones one looks at, beside the last two."""

    momentum: ArrayLike
    b1: ArrayLike
    b2: ArrayLike
    decay: ArrayLike
    eps: ArrayLike
    weight_decay: ArrayLike
    initial_accumulator: ArrayLike
    bias_rate: ArrayLike  # rate of biases, as a multiple of the others'
    average: ArrayLike  # decay of the running average of weights, which is `train`'s to keep


def _by_leaf(params, of_bias: ArrayLike, of_others: ArrayLike):
    """A tree like `params`: `of_bias` where a leaf is called bias."""

    def choose(path, _):
        return of_bias if path and getattr(path[-1], "key", None) == "bias" else of_others

    return jax.tree.map_with_path(choose, params)


def rates(params, rate: ArrayLike, hyper: OptimizerHyper):
    """The learning rate of every leaf of `params`."""
    return _by_leaf(params, rate * hyper.bias_rate, rate)


def _decay(hyper: OptimizerHyper) -> optax.GradientTransformation:
    """Adds weight_decay * params."""

    def update(updates, params):
        decays = _by_leaf(params, hyper.weight_decay / hyper.bias_rate, hyper.weight_decay)
        return jax.tree.map(lambda u, p, decay: u + decay * p, updates, params, decays)

    return optax.stateless(update)


def _l2(hyper: OptimizerHyper, direction: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(_decay(hyper), direction)


def _decoupled(hyper: OptimizerHyper, direction: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(direction, _decay(hyper))


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
    """The direction of optimizer `name`, to be built inside the trace: params += -rates * direction.

    Equals optax.<name> with the rate taken out; `nesterov` is Sutskever et al. 2013 for sgd and NAdam (Dozat 2016) for
    adam and adamw. Raises KeyError for an unknown name, ValueError for `nesterov` where there is no such form.
    """
    if nesterov and name not in NESTEROV:
        raise ValueError(f"nesterov=True: {name} has no such form; only {', '.join(sorted(NESTEROV))} have")
    return OPTIMIZERS[name](hyper, nesterov)
