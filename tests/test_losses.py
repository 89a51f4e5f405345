"""Losses against numbers worked by hand, float64 NumPy, and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from fmnist_jax import losses

# softmax of log([1, 2, 5]) is [1/8, 2/8, 5/8].
EIGHTHS = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
LABEL = jnp.array([1])


def random_batch(classes=10, size=64, spread=3.0):
    rng = np.random.default_rng(0)
    return (spread * rng.standard_normal((size, classes))).astype(np.float32), rng.integers(0, classes, size)


def reference(name, logits, labels, smoothing):
    log_probs = log_softmax(np.float64(logits), axis=-1)
    probs, classes = np.exp(log_probs), logits.shape[-1]
    targets = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    return {
        "cross_entropy": -(targets * log_probs).sum(-1),
        "mean_squared_error": ((probs - targets) ** 2).mean(-1),
        "poisson": (probs - targets * np.log(probs + 1e-7)).mean(-1),
    }[name]


@pytest.mark.parametrize(
    ("name", "by_hand"),
    {
        "cross_entropy": np.log(4),
        "mean_squared_error": (1 + 36 + 25) / 64 / 3,
        "poisson": (1 - np.log(0.25 + 1e-7)) / 3,
    }.items(),
)
def test_by_hand(name, by_hand):
    assert losses.per_example(name, EIGHTHS, LABEL)[0] == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    {  # targets [0.1, 0.8, 0.1]
        "cross_entropy": 0.1 * np.log(8) + 0.8 * np.log(4) + 0.1 * np.log(8 / 5),
        "mean_squared_error": (0.025**2 + 0.55**2 + 0.525**2) / 3,
        "poisson": (1 - 0.1 * np.log(1 / 8) - 0.8 * np.log(1 / 4) - 0.1 * np.log(5 / 8)) / 3,
    }.items(),
)
def test_by_hand_smoothed(name, by_hand):
    assert losses.per_example(name, EIGHTHS, LABEL, 0.3)[0] == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("name", losses.LOSSES)
def test_against_float64(name, smoothing):
    logits, labels = random_batch()
    loss = losses.per_example(name, logits, labels, smoothing)
    assert (loss.shape, loss.dtype) == ((64,), jnp.float32)
    np.testing.assert_allclose(loss, reference(name, logits, labels, smoothing), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_against_optax(smoothing):
    logits, labels = random_batch()
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), smoothing)
    np.testing.assert_allclose(
        losses.per_example("cross_entropy", logits, labels, smoothing),
        optax.softmax_cross_entropy(logits, targets),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        losses.per_example("mean_squared_error", logits, labels, smoothing),
        optax.squared_error(jax.nn.softmax(logits), targets).mean(-1),
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("label", [0, 1])
def test_extreme_logits_have_finite_losses_and_gradients(name, label):
    logits, labels = jnp.array([[1e4, -1e4, 0.0]]), jnp.array([label])
    loss, grads = jax.value_and_grad(lambda x: losses.per_example(name, x, labels, 0.1).sum())(logits)
    assert np.isfinite(loss)
    assert np.isfinite(grads).all()


def test_cross_entropy_of_extreme_logits_by_hand():
    logits = jnp.array([[1e4, -1e4]])
    np.testing.assert_array_equal(losses.per_example("cross_entropy", logits, jnp.array([1])), [2e4])
    np.testing.assert_array_equal(losses.per_example("cross_entropy", logits, jnp.array([0])), [0.0])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_one_trace_for_many_smoothings(name):
    traces = []

    @jax.jit
    def population(logits, labels, smoothing):
        traces.append(1)
        return jax.vmap(lambda s: losses.per_example(name, logits, labels, s))(smoothing)

    logits, labels = random_batch()
    for smoothing in (jnp.array([0.0, 0.1]), jnp.array([0.2, 0.3])):
        stacked = population(logits, labels, smoothing)
        for s, loss in zip(smoothing, stacked, strict=True):
            np.testing.assert_allclose(losses.per_example(name, logits, labels, s), loss, rtol=1e-5, atol=1e-7)
    assert len(traces) == 1


def test_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        losses.per_example("hinge", EIGHTHS, LABEL)
