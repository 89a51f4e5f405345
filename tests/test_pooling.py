"""Poolings and their gradients against numbers worked by hand, their formulas, and torch where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import pooling

RNG = np.random.default_rng(0)
WINDOW = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(1, 2, 2, 1)


def test_pooling_by_hand():
    e = np.exp([1.0, 2.0, 3.0, 4.0])
    assert pooling.max_pool(WINDOW, 2).item() == 4.0
    assert pooling.average_pool(WINDOW, 2).item() == 2.5
    assert pooling.soft_pool(WINDOW, 2).item() == pytest.approx((e * [1, 2, 3, 4]).sum() / e.sum(), rel=1e-6)
    assert pooling.POOLINGS["none"](WINDOW, 2) is WINDOW


def test_soft_pool_does_not_overflow_and_lies_between_average_and_maximum():
    images = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
    soft = pooling.soft_pool(images, 2)
    assert (soft <= pooling.max_pool(images, 2) + 1e-6).all()
    assert (soft >= pooling.average_pool(images, 2) - 1e-6).all()
    assert np.isfinite(pooling.soft_pool(images * 1e4, 2)).all()


@pytest.mark.parametrize("size", [2, 3, 12])
def test_the_gradient_of_max_pool_goes_to_the_first_largest(size):
    images = RNG.normal(size=(2, 25, 26, 3)).astype(np.float32)

    def by_reshape(x):
        cut = x[:, : 25 // size * size, : 26 // size * size]
        return cut.reshape(2, 25 // size, size, 26 // size, size, 3).max((2, 4))

    weights = RNG.normal(size=by_reshape(images).shape)
    ours = jax.grad(lambda x: (pooling.max_pool(x, size) * weights).sum())(images)
    np.testing.assert_array_equal(ours, jax.grad(lambda x: (by_reshape(x) * weights).sum())(images))
    equal = jax.grad(lambda x: pooling.max_pool(x, 2).sum())(jnp.ones((1, 2, 2, 1)))
    assert equal.ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("size", [2, 3])
def test_the_gradient_of_soft_pool_is_that_of_its_formula(size):
    images, weights = RNG.normal(size=(2, 7, 8, 3)), RNG.normal(size=(2, 7 // size, 8 // size, 3))

    def by_formula(x):
        cut = x[:, : 7 // size * size, : 8 // size * size]
        windows = cut.reshape(2, 7 // size, size, 8 // size, size, 3)
        return (jax.nn.softmax(windows, axis=(2, 4)) * windows).sum((2, 4))

    with jax.enable_x64(True):
        wanted = jax.grad(lambda x: (by_formula(x) * weights).sum())(jnp.asarray(images, jnp.float64))
    ours = jax.grad(lambda x: (pooling.soft_pool(x, size) * weights.astype(np.float32)).sum())(
        images.astype(np.float32)
    )
    np.testing.assert_allclose(ours, wanted, atol=1e-6)
    far = jax.grad(lambda x: pooling.soft_pool(x, 2).sum())(jnp.array([1e4, 0, -1e4, 0]).reshape(1, 2, 2, 1))
    assert far.ravel().tolist() == [1, 0, 0, 0]
    equal = jax.grad(lambda x: pooling.soft_pool(x, 2).sum())(jnp.full((1, 2, 2, 1), 1e7))
    assert equal.ravel().tolist() == [0.25] * 4


@pytest.mark.parametrize("pool", ["max", "average", "soft"])
def test_pooling_cuts_a_ragged_edge(pool):
    images = RNG.normal(size=(1, 5, 7, 2)).astype(np.float32)
    out = pooling.POOLINGS[pool](images, 2)
    assert out.shape == (1, 2, 3, 2)
    assert np.array_equal(out, pooling.POOLINGS[pool](images[:, :4, :6], 2))


def test_against_torch():
    torch = pytest.importorskip("torch", reason="torch is in benchmarks/requirements.txt")
    images = RNG.normal(size=(2, 9, 9, 3)).astype(np.float32)
    planes = torch.tensor(images).permute(0, 3, 1, 2)
    for name, pool in (("max", torch.nn.functional.max_pool2d), ("average", torch.nn.functional.avg_pool2d)):
        np.testing.assert_allclose(pooling.POOLINGS[name](images, 2), pool(planes, 2).permute(0, 2, 3, 1), atol=1e-6)
