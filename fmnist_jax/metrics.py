"""Metrics of a classifier: per-example outcomes, masked sums, divided once at the end."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Sums(NamedTuple):
    """What a set of C-class examples adds up to, with K confidence bins; counts are exact int32."""

    count: Array  # [] int32
    loss: Array  # [] float32
    correct: Array  # [] int32
    top_k: Array  # [] int32: the label is among the k largest logits
    confusion: Array  # [C, C] int32: row = true class, column = predicted class
    bin_count: Array  # [K] int32
    bin_confidence: Array  # [K] float32: sum of the predicted class's probability
    bin_correct: Array  # [K] int32


def zeros(num_classes: int, bins: int = 15) -> Sums:
    """The sums of no examples."""
    return Sums(
        count=jnp.zeros([], jnp.int32),
        loss=jnp.zeros([], jnp.float32),
        correct=jnp.zeros([], jnp.int32),
        top_k=jnp.zeros([], jnp.int32),
        confusion=jnp.zeros([num_classes, num_classes], jnp.int32),
        bin_count=jnp.zeros([bins], jnp.int32),
        bin_confidence=jnp.zeros([bins], jnp.float32),
        bin_correct=jnp.zeros([bins], jnp.int32),
    )


def of_batch(logits: Array, labels: Array, mask: Array, losses: Array, *, top_k: int | Array, bins: int = 15) -> Sums:
    """The sums of one batch: logits [B, C], labels [B] int32, mask [B] bool, losses [B].

    Rows with a false mask add nothing, whatever they hold. Between equal logits the lower class goes first, for
    `top_k` as for the prediction. A row with a non-finite logit is wrong at every k: its prediction is booked under
    the class after its label, (label + 1) mod C, so that rows of the confusion matrix still add up, with confidence 0.
    """
    classes = jnp.arange(logits.shape[-1])
    finite = jnp.isfinite(logits).all(axis=-1)
    label_logit = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    ahead = (logits > label_logit) | ((logits == label_logit) & (classes < labels[:, None]))
    in_top_k = mask & finite & (jnp.sum(ahead, axis=-1) < top_k)

    predicted = jnp.where(finite, jnp.argmax(logits, axis=-1), (labels + 1) % classes.size)
    correct = mask & (predicted == labels)
    confusion = jnp.zeros([classes.size, classes.size], jnp.int32)

    # The largest softmax probability; bin k holds (k / K, (k + 1) / K].
    top = jnp.max(logits, axis=-1, keepdims=True)
    confidence = jnp.where(finite, 1 / jnp.sum(jnp.exp(logits - top), axis=-1), 0.0)
    bin_of = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    in_bin = (bin_of[:, None] == jnp.arange(bins)) & mask[:, None]

    return Sums(
        count=jnp.sum(mask, dtype=jnp.int32),
        loss=jnp.sum(losses, where=mask, dtype=jnp.float32),
        correct=jnp.sum(correct, dtype=jnp.int32),
        top_k=jnp.sum(in_top_k, dtype=jnp.int32),
        confusion=confusion.at[labels, predicted].add(mask.astype(jnp.int32)),
        bin_count=jnp.sum(in_bin, axis=0, dtype=jnp.int32),
        bin_confidence=jnp.sum(jnp.broadcast_to(confidence[:, None], in_bin.shape), axis=0, where=in_bin),
        bin_correct=jnp.sum(in_bin & correct[:, None], axis=0, dtype=jnp.int32),
    )


def add(a: Sums, b: Sums) -> Sums:
    """The sums of two disjoint sets of examples together."""
    return jax.tree.map(operator.add, a, b)


def finalise(sums: Sums) -> dict[str, np.ndarray]:
    """Metrics of the sums, in float64 NumPy, keeping any leading run axes [...].

    "loss", "accuracy", "top_k_accuracy", "ece": [...]; "per_class_accuracy": [..., C]; "confusion": [..., C, C]
    counts. What no example speaks for is nan. ECE: Guo et al. 2017, (3), equal-width bins weighted by their count.
    """
    sums = jax.device_get(sums)
    gap = np.abs(sums.bin_correct - sums.bin_confidence.astype(np.float64)).sum(axis=-1)
    hits = np.diagonal(sums.confusion, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        return {
            "loss": sums.loss.astype(np.float64) / sums.count,
            "accuracy": sums.correct / sums.count,
            "top_k_accuracy": sums.top_k / sums.count,
            "ece": gap / sums.count,
            "per_class_accuracy": hits / sums.confusion.sum(axis=-1),
            "confusion": sums.confusion,
        }
