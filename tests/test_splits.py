"""Laws of folds and orders: they partition, they are stratified, they repeat, and they do not see each other."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_jax.data import splits
from fmnist_jax.errors import UserError

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(np.array)
SEEDS = st.integers(0, 2**31 - 1)


def assert_partition(train, validation, size):
    assert train.dtype == validation.dtype == np.int32
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(size))


@given(LABELS, st.sampled_from([0.1, 0.15, 0.2, 0.25, 0.29, 1 / 3, 0.5, 0.7, 0.9]), SEEDS)
@settings(deadline=None)
def test_validation_split_partitions_and_stratifies(labels, fraction, seed):
    try:
        train, validation = splits.validation_split(labels, fraction, seed)
    except UserError:  # one side would be empty
        assert math.floor(fraction * len(labels) + 0.5) in (0, len(labels))
        return
    assert_partition(train, validation, len(labels))
    assert abs(len(validation) - fraction * len(labels)) <= 0.5 + 1e-9
    for label in np.unique(labels):
        exact = fraction * (labels == label).sum()
        assert abs((labels[validation] == label).sum() - exact) < 1 - 1e-9


def test_validation_split_by_hand():
    labels = np.array([0] * 10 + [1] * 20 + [2] * 70)
    train, validation = splits.validation_split(labels, 0.1, seed=3)
    np.testing.assert_array_equal(np.bincount(labels[validation]), [1, 2, 7])
    np.testing.assert_array_equal(np.bincount(labels[train]), [9, 18, 63])


def test_validation_split_is_exact_where_floats_are_not():
    # 0.29 * 50 is 14.499999999999998 in floats: counted in them, the second class gets 30 for its 29.
    labels = np.array([0] * 50 + [1] * 100 + [2] * 50)
    _, validation = splits.validation_split(labels, 0.29, seed=0)
    assert np.bincount(labels[validation])[1] == 29
    assert len(validation) == 58


@given(LABELS, st.sampled_from([0.1, 0.29, 1 / 3, 0.5, 0.9]), SEEDS)
@settings(deadline=None)
def test_an_unstratified_validation_split_has_its_size_and_sees_no_class(labels, fraction, seed):
    try:
        train, validation = splits.validation_split(labels, fraction, seed, stratified=False)
    except UserError:  # one side would be empty
        assert math.floor(fraction * len(labels) + 0.5) in (0, len(labels))
        return
    assert_partition(train, validation, len(labels))
    assert abs(len(validation) - fraction * len(labels)) <= 0.5 + 1e-9
    other = splits.validation_split(np.zeros_like(labels), fraction, seed, stratified=False)[1]
    np.testing.assert_array_equal(validation, other)


def test_an_unstratified_validation_split_is_uniform():
    # 3,000 draws of the 15 pairs of 6 examples: chi-square with 14 degrees of freedom, 99.99% below 42.6.
    labels = np.array([0, 0, 0, 1, 1, 1])
    pairs = np.array([splits.validation_split(labels, 1 / 3, seed, stratified=False)[1] for seed in range(3000)])
    counts = np.unique(pairs @ [6, 1], return_counts=True)[1]
    assert len(counts) == 15
    assert ((counts - 200) ** 2 / 200).sum() < 42.6


@given(LABELS, st.integers(0, 100), SEEDS)
@settings(deadline=None)
def test_a_subset_has_its_size_and_the_proportions_of_the_whole(labels, share, seed):
    n = share * len(labels) // 100
    found = splits.subset(labels, n, seed)
    assert found.dtype == np.int32
    assert len(found) == (n or len(labels))
    assert (np.diff(found) > 0).all()  # sorted, each once
    assert 0 <= found[0] <= found[-1] < len(labels)
    np.testing.assert_array_equal(found, splits.subset(labels, n, seed))
    counts, whole = (np.bincount(part, minlength=labels.max() + 1) for part in (labels[found], labels))
    assert (np.abs(counts - len(found) / len(labels) * whole) < 1 + 1e-9).all()


def test_a_subset_of_all_is_all_and_of_more_is_refused():
    labels = np.array([1, 0, 1])
    for n in (0, 3):
        np.testing.assert_array_equal(splits.subset(labels, n, 0), [0, 1, 2])
    with pytest.raises(UserError, match="dataset.images=4: there are only 3 training images; take 0 for all of them"):
        splits.subset(labels, 4, 0)


def test_validation_split_zero_holds_nothing_out():
    train, validation = splits.validation_split(np.array([1, 0, 1]), 0, seed=0)
    np.testing.assert_array_equal(train, [0, 1, 2])
    assert validation.shape == (0,)


def test_validation_split_follows_its_seed():
    labels = np.arange(200) % 4
    one, again, other = (splits.validation_split(labels, 0.2, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@given(LABELS, st.integers(2, 8), SEEDS, st.booleans())
@settings(deadline=None)
def test_k_folds_partition_and_stratify(labels, k, seed, stratified):
    try:
        folds = splits.k_folds(labels, k, seed, stratified)
    except UserError:
        assert k > (np.unique(labels, return_counts=True)[1].min() if stratified else len(labels))
        return
    assert len(folds) == k
    for train, validation in folds:
        assert_partition(train, validation, len(labels))
    # Every example validates exactly once.
    np.testing.assert_array_equal(np.sort(np.concatenate([v for _, v in folds])), np.arange(len(labels)))
    sizes = [len(v) for _, v in folds]
    assert max(sizes) - min(sizes) <= 1
    if stratified:
        for label in np.unique(labels):
            counts = [(labels[v] == label).sum() for _, v in folds]
            assert max(counts) - min(counts) <= 1


def test_k_folds_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    counts = [tuple(np.bincount(labels[v])) for _, v in splits.k_folds(labels, 4, seed=0)]
    assert counts == [(1, 2), (1, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda y: splits.validation_split(y, 1.0, 0),
            "dataset.validation_fraction=1.0: must be at least 0 and less than 1",
        ),
        (lambda y: splits.validation_split(y, -0.1, 0), "dataset.validation_fraction=-0.1"),
        (lambda y: splits.validation_split(y, float("nan"), 0), "dataset.validation_fraction=nan"),
        (lambda y: splits.validation_split(y, 0.001, 0), "6 to train on and 0 to validate on"),
        (lambda y: splits.validation_split(y, 0.99, 0), "0 to train on and 6 to validate on"),
        (lambda y: splits.validation_split(y, 0.5, -1), "dataset.split_seed=-1: must be at least 0"),
        (lambda y: splits.validation_split(y[:0], 0.5, 0), "at least one"),
        (lambda y: splits.k_folds(y, 1, 0), "folds=1: must be at least 2"),
        (lambda y: splits.k_folds(y, 3, 0), "folds=3: class 1 has only 2 examples"),
        (lambda y: splits.k_folds(y, 7, 0, stratified=False), "folds=7: more than the 6 examples"),
        (lambda y: splits.k_folds(y, 2, -5), "dataset.split_seed=-5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(UserError) as caught:
        call(np.array([0, 0, 0, 0, 1, 1]))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stack_pads_with_an_index_of_the_same_row():
    pairs = [
        (np.array([1, 2, 3], np.int32), np.array([0], np.int32)),
        (np.array([4, 5], np.int32), np.array([], np.int32)),
    ]
    split = splits.stack(pairs)
    np.testing.assert_array_equal(split.train, [[1, 2, 3], [4, 5, 4]])
    np.testing.assert_array_equal(split.train_size, [3, 2])
    np.testing.assert_array_equal(split.validation, [[0], [0]])
    np.testing.assert_array_equal(split.validation_size, [1, 0])
    assert {a.dtype for a in (split.train, split.train_size, split.validation, split.validation_size)} == {
        np.dtype(np.int32)
    }


def test_stack_without_validation_is_empty():
    split = splits.stack([splits.validation_split(np.array([0, 1]), 0.0, 0)] * 2)
    assert split.train.shape == (2, 2)
    assert split.validation.shape == (2, 0)


@pytest.mark.parametrize("size", [1, 5, 11, 12])
def test_order_permutes_what_counts_and_leaves_the_padding(size):
    indices = np.arange(100, 112, dtype=np.int32)
    result = np.asarray(jax.jit(splits.order)(jax.random.key(0), indices, size))
    assert result.dtype == np.int32
    np.testing.assert_array_equal(np.sort(result[:size]), indices[:size])
    np.testing.assert_array_equal(result[size:], indices[size:])


def test_order_is_the_same_under_vmap_and_whatever_the_padding():
    keys = jax.random.split(jax.random.key(1), 3)
    rows = jnp.asarray(np.random.default_rng(0).permutation(60).reshape(3, 20), jnp.int32)
    sizes = jnp.array([20, 13, 7])
    together = jax.jit(jax.vmap(splits.order))(keys, rows, sizes)
    for key, row, size, member in zip(keys, rows, sizes.tolist(), together, strict=True):
        np.testing.assert_array_equal(member, splits.order(key, row, size))
        np.testing.assert_array_equal(member[:size], splits.order(key, row[:size], size))


def test_order_keeps_the_padding_last_behind_the_largest_rank(monkeypatch):
    # An example may draw the very rank that marks padding; it must still come first.
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: jnp.full(shape, 2**32 - 1, dtype))
    np.testing.assert_array_equal(splits.order(jax.random.key(0), jnp.array([7, 8, 9]), 2), [7, 8, 9])


def test_order_is_uniform():
    # 6,000 draws of the 24 orders of 4 of 6 indices: chi-square with 23 degrees of freedom, 99.99% below 58.6.
    keys = jax.random.split(jax.random.key(2), 6000)
    orders = np.asarray(jax.vmap(splits.order, (0, None, None))(keys, jnp.arange(6), 4))[:, :4]
    counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 250) ** 2 / 250).sum() < 58.6


@pytest.mark.parametrize("size", [1, 2, 1000, 2**16, 2**16 + 1])
def test_argsort_is_stable_whatever_the_halves_of_the_numbers(size):
    rng = np.random.default_rng(size)
    few = rng.choice(np.array([0, 1, 2**16 - 1, 2**16, 2**31, 2**32 - 1], np.uint32), size)  # ties in each half
    for rank in (few, rng.integers(0, 2**32, size, dtype=np.uint32)):
        assert np.array_equal(splits._argsort(jnp.asarray(rank)), np.argsort(rank, kind="stable"))
