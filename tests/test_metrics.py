"""Metrics against numbers worked by hand and a plain NumPy reference; every example counts once."""

import warnings
from functools import partial, reduce
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from fmnist_jax import metrics

# Probabilities [1/8, 2/8, 5/8] and so on: predictions 2, 2, 0, 1; confidences 5/8, 5/8, 3/4, 1/2.
LOGITS = np.log(np.float32([[1, 2, 5], [2, 1, 5], [6, 1, 1], [3, 4, 1]]))
LABELS = np.int32([2, 0, 0, 0])
LOSSES = np.float32([1, 2, 4, 8])
ALL = np.ones(4, bool)
INTEGERS = ("count", "correct", "top_k", "confusion", "bin_count", "bin_correct")


def random_set(size=1000, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size).astype(np.int32)
    logits = rng.standard_normal((size, classes)) + 2 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels, rng.exponential(size=size).astype(np.float32)


def in_batches(logits, labels, losses, batch, **options):
    """The sums of a set cut into batches, the last one padded with rows that would poison any sum they enter."""
    pad = -len(labels) % batch
    logits = np.concatenate([logits, np.full((pad, logits.shape[1]), np.nan, np.float32)])
    labels = np.concatenate([labels, np.full(pad, -1, np.int32)])
    losses = np.concatenate([losses, np.full(pad, np.nan, np.float32)])
    mask = np.arange(len(labels)) < len(labels) - pad
    step = jax.jit(partial(metrics.of_batch, **options))
    cut = zip(*(np.split(x, len(labels) // batch) for x in (logits, labels, mask, losses)), strict=True)
    return reduce(metrics.add, (step(*b) for b in cut), metrics.zeros(logits.shape[1], options.get("bins", 15)))


def reference(logits, labels, losses, k, bins):
    probs = softmax(np.float64(logits), axis=-1)
    predicted, confidence = probs.argmax(-1), probs.max(-1)
    order = np.argsort(-logits, axis=-1, kind="stable")
    confusion = np.zeros((logits.shape[1],) * 2, int)
    np.add.at(confusion, (labels, predicted), 1)
    ece, edges = 0.0, np.linspace(0, 1, bins + 1)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            ece += inside.mean() * abs((predicted == labels)[inside].mean() - confidence[inside].mean())
    return {
        "loss": np.float64(losses).mean(),
        "accuracy": (predicted == labels).mean(),
        "top_k_accuracy": (order[:, :k] == labels[:, None]).any(-1).mean(),
        "ece": ece,
        "per_class_accuracy": np.diagonal(confusion) / confusion.sum(1),
        "confusion": confusion,
    }


def test_by_hand():
    sums = metrics.of_batch(LOGITS, LABELS, ALL, LOSSES, top_k=2, bins=5)
    assert (sums.count, sums.loss, sums.correct, sums.top_k) == (4, 15, 2, 4)
    np.testing.assert_array_equal(sums.confusion, [[1, 1, 1], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(sums.bin_count, [0, 0, 1, 3, 0])
    np.testing.assert_array_equal(sums.bin_correct, [0, 0, 0, 2, 0])
    np.testing.assert_allclose(sums.bin_confidence, [0, 0, 0.5, 2.0, 0], rtol=1e-6)

    table = metrics.finalise(sums)
    assert table["loss"] == 15 / 4
    assert table["accuracy"] == 1 / 2
    assert table["top_k_accuracy"] == 1
    assert table["ece"] == pytest.approx((0.5 + 0.0) / 4, abs=1e-6)
    np.testing.assert_array_equal(table["per_class_accuracy"], [1 / 3, np.nan, 1])


def test_a_confidence_on_an_edge_belongs_to_the_bin_it_closes():
    logits = np.float32([[0, 0, 0, 0], [0, 0, -200, -200], [0, -200, -200, -200]])  # confidences 1/4, 1/2, 1
    sums = metrics.of_batch(logits, np.zeros(3, np.int32), np.ones(3, bool), np.zeros(3, np.float32), top_k=1, bins=4)
    np.testing.assert_array_equal(sums.bin_count, [1, 1, 0, 1])


@pytest.mark.parametrize("seed", range(3))
def test_against_numpy(seed):
    logits, labels, losses = random_set(seed=seed)
    table = metrics.finalise(in_batches(logits, labels, losses, 128, top_k=3))
    for name, expected in reference(logits, labels, losses, 3, 15).items():
        np.testing.assert_allclose(table[name], expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_every_example_counts_once_at_any_batch_size():
    logits, labels, losses = random_set(301)
    whole = in_batches(logits, labels, losses, 301, top_k=5)
    assert whole.count == whole.confusion.sum() == whole.bin_count.sum() == 301
    for batch in (1, 7, 64, 300, 512):
        parts = in_batches(logits, labels, losses, batch, top_k=5)
        for field in INTEGERS:
            np.testing.assert_array_equal(getattr(parts, field), getattr(whole, field), err_msg=f"{field} at {batch}")
        np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-5)
        np.testing.assert_allclose(parts.bin_confidence, whole.bin_confidence, rtol=1e-5)


@pytest.mark.parametrize("batch", [100, 1000, 60_000])
def test_float32_loss_of_sixty_thousand_examples(batch):
    """Measured relative error on a CPU: below 1e-6 at any of these batch sizes; 5e-6 is room for other backends."""
    logits, labels, losses = random_set(60_000, classes=2)
    table = metrics.finalise(in_batches(logits, labels, losses, batch, top_k=1))
    assert table["loss"] == pytest.approx(np.float64(losses).mean(), rel=5e-6)


def test_a_masked_row_adds_nothing_whatever_it_holds():
    poison = np.full((1, 3), np.nan, np.float32)
    logits, labels = np.concatenate([LOGITS, poison]), np.append(LABELS, np.int32(7))
    masked = metrics.of_batch(logits, labels, np.append(ALL, False), np.append(LOSSES, np.float32(np.inf)), top_k=2)
    without = metrics.of_batch(LOGITS, LABELS, ALL, LOSSES, top_k=2)
    assert all(np.array_equal(a, b) for a, b in zip(masked, without, strict=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("label", range(3))
def test_a_row_with_a_non_finite_logit_is_wrong(bad, label):
    for place in range(3):
        logits = np.zeros((1, 3), np.float32)
        logits[0, place] = bad
        sums = metrics.of_batch(logits, np.int32([label]), np.ones(1, bool), np.zeros(1, np.float32), top_k=3)
        assert (sums.count, sums.correct, sums.top_k) == (1, 0, 0)
        assert sums.confusion[label, (label + 1) % 3] == sums.confusion.sum() == 1
        assert sums.bin_confidence.sum() == 0


def test_ties_go_to_the_lower_class():
    tied, mask, losses = np.zeros((3, 3), np.float32), np.ones(3, bool), np.zeros(3, np.float32)
    for k in (1, 2, 3):
        sums = metrics.of_batch(tied, np.arange(3, dtype=np.int32), mask, losses, top_k=k)
        assert (sums.correct, sums.top_k) == (1, k)


def test_top_1_is_accuracy():
    logits, labels, losses = random_set()
    sums = in_batches(np.round(logits), labels, losses, 100, top_k=1)  # rounding makes ties
    assert sums.top_k == sums.correct


def test_a_run_axis_and_the_same_sums_mapped_or_vmapped():
    sets = [random_set(50, seed=seed) for seed in range(3)]
    logits, labels, losses = (jnp.stack(x) for x in zip(*sets, strict=True))
    mask = jnp.arange(50) < jnp.array([50, 20, 0])[:, None]
    one = partial(metrics.of_batch, top_k=5)
    vmapped = jax.jit(jax.vmap(one))(logits, labels, mask, losses)
    mapped = jax.jit(lambda *xs: jax.lax.map(lambda x: one(*x), xs))(logits, labels, mask, losses)
    for field in INTEGERS:
        np.testing.assert_array_equal(getattr(vmapped, field), getattr(mapped, field), err_msg=field)

    table = metrics.finalise(vmapped)
    assert table["loss"].shape == (3,)
    assert table["per_class_accuracy"].shape == (3, 10)
    for i in range(2):
        alone = metrics.finalise(one(logits[i], labels[i], mask[i], losses[i]))
        for name, value in alone.items():
            np.testing.assert_allclose(table[name][i], value, rtol=1e-6, err_msg=name)


def test_no_examples_are_nan_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = metrics.finalise(metrics.zeros(4))
    for name in ("loss", "accuracy", "top_k_accuracy", "ece", "per_class_accuracy"):
        assert np.isnan(table[name]).all(), name


def test_zeros_has_the_shapes_and_dtypes_of_a_batch():
    batch = metrics.of_batch(LOGITS, LABELS, ALL, LOSSES, top_k=2, bins=7)
    spec = partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert spec(metrics.zeros(3, bins=7)) == spec(batch)
