"""Draws against the formulas they name: bounds, variances, and the whole distribution (Kolmogorov-Smirnov)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers
from scipy import stats

from fmnist_jax import init

KEY = jax.random.key(0)
DENSE, CONV = (300, 200), (5, 5, 24, 40)
FANS = {DENSE: (300, 200), CONV: (25 * 24, 25 * 40)}
# Variance of N(0, 1) cut at two deviations.
CUT_VARIANCE = stats.truncnorm(-2, 2).var()


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


def cut_normal(deviation):
    return stats.truncnorm(-2, 2, scale=deviation)


# name -> law of one weight, written out from the papers' formulas: (fan_in, fan_out) -> scipy distribution
LAWS = {
    "xavier_uniform": lambda i, o: uniform(np.sqrt(6 / (i + o))),
    "xavier_normal": lambda i, o: stats.norm(0, np.sqrt(2 / (i + o))),
    "kaiming_uniform": lambda i, o: uniform(np.sqrt(6 / i)),
    "kaiming_normal": lambda i, o: stats.norm(0, np.sqrt(2 / i)),
    "lecun_uniform": lambda i, o: uniform(np.sqrt(3 / i)),
    "lecun_normal": lambda i, o: cut_normal(np.sqrt(1 / i / CUT_VARIANCE)),
    "truncated_normal": lambda i, o: cut_normal(0.05),
    "keras": lambda i, o: uniform(np.sqrt(6 / (i + o))),
    "pytorch": lambda i, o: uniform(1 / np.sqrt(i)),
}
BIAS_LAWS = {"pytorch": uniform(1 / np.sqrt(600)), "truncated_normal": cut_normal(0.05)}


def assert_follows(draw, law):
    """`draw` has the support, the variance within six standard errors, and the distribution of `law`."""
    draw = np.asarray(draw, np.float64).ravel()
    low, high = law.support()
    assert low * (1 + 1e-6) <= draw.min()
    assert draw.max() <= high * (1 + 1e-6)
    standard_error = law.var() * np.sqrt((law.stats("k") + 2) / draw.size)
    assert abs(draw.var() - law.var()) < 6 * standard_error
    assert stats.kstest(draw, law.cdf).pvalue > 1e-3


def test_every_kernel_init_has_a_law():
    assert set(LAWS) == set(init.KERNEL_INITS)
    assert {*BIAS_LAWS, "zeros"} == set(init.BIAS_INITS)


@pytest.mark.parametrize("shape", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize("name", LAWS)
def test_kernel_follows_its_formula(name, shape):
    assert_follows(init.kernel(name, KEY, shape), LAWS[name](*FANS[shape]))


@pytest.mark.parametrize("name", BIAS_LAWS)
def test_bias_follows_its_formula(name):
    assert_follows(init.bias(name, KEY, (40_000,), 600), BIAS_LAWS[name])


def test_zero_bias_is_zero():
    np.testing.assert_array_equal(init.bias("zeros", KEY, (7,), 600, scale=3.0), np.zeros(7, np.float32))


@pytest.mark.parametrize(
    ("name", "theirs"),
    {
        "xavier_uniform": initializers.glorot_uniform(),
        "keras": initializers.glorot_uniform(),
        "xavier_normal": initializers.variance_scaling(1.0, "fan_avg", "normal"),
        "kaiming_uniform": initializers.he_uniform(),
        "lecun_uniform": initializers.lecun_uniform(),
        "lecun_normal": initializers.lecun_normal(),
        "truncated_normal": initializers.truncated_normal(0.05),
    }.items(),
)
def test_same_bits_as_jax(name, theirs):
    np.testing.assert_array_equal(init.kernel(name, KEY, CONV), theirs(KEY, CONV, jnp.float32))


def test_truncation_is_at_two_deviations_and_uncorrected():
    draw = np.asarray(init.kernel("truncated_normal", KEY, (1000, 1000), stddev=0.1))
    assert 0.1999 < np.abs(draw).max() <= np.float32(0.2)
    assert draw.std() == pytest.approx(0.1 * np.sqrt(CUT_VARIANCE), rel=5e-3)  # 0.088, not 0.1


@pytest.mark.parametrize("name", LAWS)
def test_scale_multiplies_the_whole_draw(name):
    np.testing.assert_array_equal(
        init.kernel(name, KEY, DENSE, scale=0.25), np.float32(0.25) * init.kernel(name, KEY, DENSE)
    )


@pytest.mark.parametrize("name", init.BIAS_INITS)
def test_scale_multiplies_the_bias(name):
    np.testing.assert_array_equal(
        init.bias(name, KEY, (9,), 16, scale=0.25), np.float32(0.25) * init.bias(name, KEY, (9,), 16)
    )


@pytest.mark.parametrize("name", LAWS)
def test_one_trace_and_the_same_draw_under_jit_and_vmap(name):
    traces = []

    @jax.jit
    def population(keys, scale, stddev):
        traces.append(1)
        return jax.vmap(lambda k, s, d: init.kernel(name, k, (20, 30), scale=s, stddev=d))(keys, scale, stddev)

    keys, scale, stddev = jax.random.split(KEY, 3), jnp.array([0.5, 1.0, 2.0]), jnp.array([0.01, 0.05, 0.1])
    kernels = population(keys, scale, stddev)
    population(keys, 2 * scale, 3 * stddev)
    assert len(traces) == 1
    for key, s, d, kernel in zip(keys, scale, stddev, kernels, strict=True):
        np.testing.assert_allclose(init.kernel(name, key, (20, 30), scale=s, stddev=d), kernel, rtol=1e-6)


def test_dtype_is_kept_under_a_float32_scale():
    kernel = init.kernel("kaiming_normal", KEY, DENSE, scale=jnp.float32(2.0), dtype=jnp.bfloat16)
    assert kernel.dtype == jnp.bfloat16


def test_unknown_names_are_key_errors():
    with pytest.raises(KeyError):
        init.kernel("orthodox", KEY, DENSE)
    with pytest.raises(KeyError):
        init.bias("ones", KEY, (3,), 4)
