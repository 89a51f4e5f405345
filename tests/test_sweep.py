"""Sweeps are tuples of overrides."""

import pytest

from fmnist_jax import sweep
from fmnist_jax.errors import UserError


def test_product_has_every_combination_the_last_key_fastest():
    assert sweep.product({"a": (1, 2), "b": ("x", "y")}) == (
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    )


def test_product_keeps_the_overrides_of_a_sweep_together():
    both = sweep.zipped({"b": (1, 2), "c": (10, 20)})
    assert sweep.product({"a": (0,)}, both) == ({"a": 0, "b": 1, "c": 10}, {"a": 0, "b": 2, "c": 20})


def test_zipped_pairs_and_chain_appends():
    assert sweep.zipped({"a": (1, 2), "b": (3, 4)}) == ({"a": 1, "b": 3}, {"a": 2, "b": 4})
    assert sweep.chain([{}], sweep.product({"a": (1,)})) == ({}, {"a": 1})
    assert sweep.named({"base": {}, "big": {"a": 9}}) == ({"variant": "base"}, {"variant": "big", "a": 9})


def test_a_union_has_each_override_once_where_it_first_came():
    one, other = sweep.product({"a": (1, 2), "b": ("x",)}), ({"b": "x", "a": 2}, {"a": 3}, {})
    assert sweep.union(one, other, one) == ({"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 3}, {})
    assert len(sweep.union([{"a": 1}], [{"a": "1"}], [{"a": (1,)}])) == 3


def test_subsample_is_of_its_seed_in_order_and_without_repeats():
    whole = sweep.product({"a": range(50)})
    some = sweep.subsample(whole, 10, seed=3)
    assert some == sweep.subsample(whole, 10, seed=3) != sweep.subsample(whole, 10, seed=4)
    values = [override["a"] for override in some]
    assert values == sorted(set(values))
    assert len(values) == 10
    assert sweep.subsample(whole, 50, seed=0) == whole


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sweep.product({"a": ()}), "a=(): needs a tuple of values"),
        (lambda: sweep.product({"a": "adam"}), "a='adam': needs a tuple of values"),
        (lambda: sweep.product({"a": 1}), "a=1: needs a tuple of values"),
        (lambda: sweep.product({"a": (1,)}, [{"a": 2}]), "a comes from two of its parts"),
        (lambda: sweep.zipped({"a": (1, 2), "b": (1,)}), "has a 2, b 1"),
        (lambda: sweep.product({}), "sweep.product: no keys"),
        (lambda: sweep.chain(), "sweep.chain: no arms"),
        (lambda: sweep.union(["a"]), "'a' is not an override"),
        (lambda: sweep.named({}), "sweep.named: no arms"),
        (lambda: sweep.zipped({}), "sweep.zipped: no arms"),
        (lambda: sweep.chain(["a"]), "'a' is not an override"),
        (lambda: sweep.subsample([{}], 2, seed=0), "n=2 of 1 arms"),
    ],
)
def test_what_is_no_sweep_is_refused(make, message):
    with pytest.raises(UserError) as caught:
        make()
    assert message in str(caught.value)
