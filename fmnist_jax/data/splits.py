"""Folds and validation splits as index arrays, and the order in which a run visits its training indices.

Nothing here moves an image: a split is indices into the one copy of the training set.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from fmnist_jax.errors import UserError

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """F train/validation splits, padded to one shape; padding repeats an index of the same row.

    Attributes:
      train: [F, n] int32 indices into the training set; the first train_size[f] of row f count.
      train_size: [F] int32.
      validation: [F, m] int32; the first validation_size[f] of row f count. m may be 0.
      validation_size: [F] int32.
    """

    train: np.ndarray
    train_size: np.ndarray
    validation: np.ndarray
    validation_size: np.ndarray


def validation_split(labels: np.ndarray, fraction: float, seed: int, stratified: bool = True) -> Pair:
    """Holds a validation set out of the training set.

    The split is round(fraction * N) in all, and if stratified within less than 1 of fraction * n_c in every class c;
    if not, every subset of that size is as likely as any other.

    Args:
      labels: [N] int.
      fraction: in [0, 1); 0 holds nothing out.
      seed: its own, so that it does not change with a run's.
      stratified: whether it has the class proportions of the whole.

    Returns:
      (train, validation): sorted int32 indices, disjoint, together 0 ... N-1.

    Raises:
      UserError: fraction out of range, or so extreme that one side would be empty; a negative seed.
    """
    labels = _checked(labels, seed)
    if not 0 <= fraction < 1:
        raise UserError(f"dataset.validation_fraction={fraction}: must be at least 0 and less than 1")
    # Systematic sampling along the examples sorted by class: every time i * fraction + 1/2 passes an integer, one is
    # taken. In integers, because in floats 0.29 * 50 is not 14.5 and a class would be one off.
    exact = Fraction(float(fraction)).limit_denominator(10**6)
    steps = np.arange(len(labels) + 1, dtype=np.int64)
    passed = (2 * steps * exact.numerator + exact.denominator) // (2 * exact.denominator)
    held_out = np.zeros(len(labels), bool)
    held_out[_shuffled_by_class(labels if stratified else np.zeros_like(labels), seed)] = np.diff(passed) > 0
    train, validation = _indices(~held_out), _indices(held_out)
    if fraction and not (len(train) and len(validation)):
        raise UserError(
            f"dataset.validation_fraction={fraction}: of {len(labels)} training examples it leaves "
            f"{len(train)} to train on and {len(validation)} to validate on; "
            "neither may be empty (0 asks for no validation set)"
        )
    return train, validation


def subset(labels: np.ndarray, n: int, seed: int, key: str = "dataset.images") -> np.ndarray:
    """n of the indices 0 ... N-1, sorted int32, stratified by class; n = 0 stands for all; `key` of the config asks.

    Raises:
      UserError: there are not so many.
    """
    labels = _checked(labels, seed)
    if n > len(labels):
        raise UserError(f"{key}={n}: there are only {len(labels):,} training images; take 0 for all of them")
    if n in (0, len(labels)):
        return np.arange(len(labels), dtype=np.int32)
    return validation_split(labels, n / len(labels), seed)[1]


def k_folds(labels: np.ndarray, k: int, seed: int, stratified: bool = True) -> list[Pair]:
    """K-fold cross-validation: every example validates once.

    Fold sizes differ by at most 1; so do, if stratified, the folds' counts of every class.

    Args:
      labels: [N] int.
      k: number of folds, from 2 to N, or to the size of the smallest class if stratified.
      seed: decides which example goes where.
      stratified: whether each fold has the class proportions of the whole.

    Returns:
      k pairs (train, validation) of sorted int32 indices.

    Raises:
      UserError: k out of range; a negative seed.
    """
    labels = _checked(labels, seed)
    if k < 2:
        raise UserError(f"folds={k}: must be at least 2")
    if stratified:
        classes, counts = np.unique(labels, return_counts=True)
        if k > counts.min():
            smallest = int(counts.argmin())
            raise UserError(
                f"folds={k}: class {classes[smallest]} has only {counts[smallest]} examples; use at most "
                f"{counts[smallest]} folds, or folds that are not stratified"
            )
    elif k > len(labels):
        raise UserError(f"folds={k}: more than the {len(labels)} examples there are")
    visited = _shuffled_by_class(labels if stratified else np.zeros_like(labels), seed)
    fold = np.empty(len(labels), np.int64)
    fold[visited] = np.arange(len(labels)) % k  # dealt like cards, class after class
    return [(_indices(fold != f), _indices(fold == f)) for f in range(k)]


def stack(pairs: Sequence[Pair]) -> Split:
    """Pads (train, validation) pairs to one shape, so that folds are an axis like any other."""
    train, train_size = _padded([train for train, _ in pairs])
    validation, validation_size = _padded([validation for _, validation in pairs])
    return Split(train, train_size, validation, validation_size)


def order(key: jax.Array, indices: jax.Array, size: jax.Array | int) -> jax.Array:
    """A fresh random permutation of indices[:size], followed by the padding, in its place.

    Traceable in every argument. Does not depend on the amount of padding (jax's counter-based keys draw element i
    alike in arrays of any length), so a fold alone and the same fold padded to its neighbours train in one order.

    Args:
      key: a PRNG key.
      indices: [n] int; only the first `size` count.
      size: scalar int, 1 ... n.

    Returns:
      [n] int32.
    """
    indices = jnp.asarray(indices, jnp.int32)
    rank = jax.random.bits(key, indices.shape, jnp.uint32)
    # Padding gets the largest rank; the sort is stable, so it stays last even behind an example that drew the same.
    rank = jnp.where(jnp.arange(indices.shape[0]) < size, rank, jnp.uint32(0xFFFFFFFF))
    return indices[_argsort(rank)]


def _argsort(rank: jax.Array) -> jax.Array:
    """Stable argsort of [n] uint32.

    XLA:CPU sorts one array four times as fast as a pair. So up to 2**16 numbers are sorted by their lower half and then
    by their upper half, the place of each in the lower bits of one number: half the time, which a small net notices.
    """
    place = jnp.arange(len(rank), dtype=jnp.uint32)
    if len(rank) > 2**16:
        return jax.lax.sort_key_val(rank, place, is_stable=True)[1]
    by_lower = jnp.sort(rank << 16 | place) & 0xFFFF
    return by_lower[jnp.sort(rank[by_lower] >> 16 << 16 | place) & 0xFFFF]


def _checked(labels: np.ndarray, seed: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise UserError(f"labels of shape {labels.shape}: must be one label an example, and at least one")
    if seed < 0:
        raise UserError(f"dataset.split_seed={seed}: must be at least 0")
    return labels


def _shuffled_by_class(labels: np.ndarray, seed: int) -> np.ndarray:
    """All indices, class after class, in random order within a class."""
    shuffled = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(labels))
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _indices(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask).astype(np.int32)


def _padded(rows: Sequence[np.ndarray]) -> Pair:
    sizes = np.array([len(row) for row in rows], np.int32)
    padded = np.zeros((len(rows), int(sizes.max(initial=0))), np.int32)  # of an empty row, index 0 is the padding
    for out, row in zip(padded, rows, strict=True):
        if len(row):
            out[:] = row[0]
            out[: len(row)] = row
    return padded, sizes
