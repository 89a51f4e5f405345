"""Losses of one example: logits and a label in, a number out."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

KERAS_EPSILON = 1e-7


def _cross_entropy(logits: Array, targets: Array) -> Array:
    return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)


def _mean_squared_error(logits: Array, targets: Array) -> Array:
    return jnp.mean(jnp.square(jax.nn.softmax(logits) - targets), axis=-1)


def _poisson(logits: Array, targets: Array) -> Array:
    probs = jax.nn.softmax(logits)
    return jnp.mean(probs - targets * jnp.log(probs + KERAS_EPSILON), axis=-1)


LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "cross_entropy": _cross_entropy,
    "mean_squared_error": _mean_squared_error,
    "poisson": _poisson,
}


def per_example(name: str, logits: Array, labels: Array, smoothing: ArrayLike = 0.0) -> Array:
    """The loss `name` of each example: logits [B, C] float32, labels [B] int32 -> [B] float32.

    With p = softmax(logits) and targets t = (1 - smoothing) * onehot + smoothing / C (Szegedy et al. 2016, section 7):
    cross_entropy is -sum_c t log p; mean_squared_error is mean_c (p - t)^2; poisson is
    mean_c (p - t log(p + 1e-7)), as keras.losses.Poisson on a softmax output. Raises KeyError for an unknown name.
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing)
    return LOSSES[name](logits, targets)
