"""Activations and dropout against numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from fmnist_jax import activations, layers


def test_activations_by_hand():
    x = jnp.array([-2.0, 0.0, 3.0])
    wanted = {
        "relu": [0, 0, 3],
        "leaky_relu": [-0.2, 0, 3],
        "leaky_relu_as_printed": [0.2, 0, 3],
        "tanh": np.tanh([-2, 0, 3]),
        "sigmoid": 1 / (1 + np.exp([2, 0, -3])),
        "softmax": np.exp([-2, 0, 3]) / np.exp([-2, 0, 3]).sum(),
        "gelu": [-0.04550026, 0, 2.99595031],  # x * Phi(x)
        "silu": np.array([-2, 0, 3]) / (1 + np.exp([2, 0, -3])),
        "none": [-2, 0, 3],
    }
    assert wanted.keys() == activations.ACTIVATIONS.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(activations.ACTIVATIONS[name](x, 0.1), values, atol=1e-6, err_msg=name)


def test_dropout_keeps_the_mean_and_its_edges():
    key, ones = jax.random.key(0), jnp.ones((200, 500))
    for rate in (0.1, 0.5, 0.9):
        out = np.asarray(jax.jit(layers.dropout)(key, ones, rate))
        assert set(np.unique(out)) == {0.0, np.float32(1) / np.float32(1 - np.float32(rate))}
        # Binomial: 5 standard errors of the share of zeros.
        assert abs((out == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / ones.size)
    assert np.array_equal(layers.dropout(key, ones, 0.0), ones)
    assert not layers.dropout(key, ones, 1.0).any()
