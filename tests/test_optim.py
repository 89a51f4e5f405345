"""Optimizers against optax's own, untraced, over twenty steps on a noisy quadratic under a schedule."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fmnist_jax import optim
from fmnist_jax.optim import OptimizerHyper

STEPS = 20
REST = {"bias_rate": 1.0, "average": 0.0}
HYPER = OptimizerHyper(0.9, 0.9, 0.99, decay=0.95, eps=1e-3, weight_decay=0.1, initial_accumulator=0.2, **REST)
OTHER = OptimizerHyper(0.0, 0.5, 0.999, decay=0.8, eps=1e-7, weight_decay=0.0, initial_accumulator=0.0, **REST)
CASES = [(name, False) for name in optim.OPTIMIZERS] + [(name, True) for name in sorted(optim.NESTEROV)]
RATES = np.array([optax.cosine_decay_schedule(0.05, STEPS)(i) for i in range(STEPS)])

# A quadratic of condition 100, with the same noise in the gradient of step i for everyone.
CURVATURE = jnp.array([0.1, 1.0, 10.0])
PARAMS = jax.random.normal(jax.random.key(1), (4, 3))
NOISE = 0.1 * jax.random.normal(jax.random.key(0), (STEPS, 4, 3))


def ours(name, hyper, nesterov=False):
    """The params [STEPS, 4, 3] after each step, built and run inside one trace."""
    optimizer = optim.transform(name, hyper, nesterov=nesterov)

    def step(carry, rate_and_noise):
        (params, state), (rate, noise) = carry, rate_and_noise
        direction, state = optimizer.update(CURVATURE * params + noise, state, params)
        params = params - rate * direction
        return (params, state), params

    return jax.lax.scan(step, (PARAMS, optimizer.init(PARAMS)), (jnp.asarray(RATES), NOISE))[1]


@cache
def theirs(name, hyper, nesterov=False):
    """The same by optax's alias, built from plain Python numbers and run step by step outside any trace."""
    h, rate = hyper, lambda count: jnp.asarray(RATES)[count]
    optimizer = {
        "sgd": lambda: optax.sgd(rate, h.momentum, nesterov=nesterov),
        "adam": lambda: optax.adam(rate, h.b1, h.b2, h.eps, nesterov=nesterov),
        "adamw": lambda: optax.adamw(rate, h.b1, h.b2, h.eps, weight_decay=h.weight_decay, nesterov=nesterov),
        "rmsprop": lambda: optax.rmsprop(rate, h.decay, h.eps),
        "adagrad": lambda: optax.adagrad(rate, h.initial_accumulator, h.eps),
        "lion": lambda: optax.lion(rate, h.b1, h.b2, weight_decay=h.weight_decay),
    }[name]()
    if name not in ("adamw", "lion"):
        optimizer = optax.chain(optax.add_decayed_weights(h.weight_decay), optimizer)

    params, state, path = PARAMS, optimizer.init(PARAMS), []
    for noise in NOISE:
        updates, state = optimizer.update(CURVATURE * params + noise, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return np.stack(path)


def traced(*hypers):
    """Float32 scalars of one hyper; of several, stacked along a run axis."""
    return jax.tree.map(lambda *xs: jnp.array(xs, jnp.float32) if len(xs) > 1 else jnp.float32(xs[0]), *hypers)


jitted = jax.jit(ours, static_argnums=(0, 2))


def assert_close(name, params, expected):
    """Equal to round-off, which for Adam holds that of 1 - b2: 1.3e-5 relative for a float32 0.999, none in optax."""
    tolerance = 5e-6 if name in ("adam", "adamw") else 1e-6
    np.testing.assert_allclose(params, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("hyper", [HYPER, OTHER], ids=["typical", "bare"])
@pytest.mark.parametrize(("name", "nesterov"), CASES)
def test_agrees_with_optax(name, nesterov, hyper):
    assert_close(name, jitted(name, traced(hyper), nesterov), theirs(name, hyper, nesterov))


@pytest.mark.parametrize(("name", "nesterov"), CASES)
def test_one_trace_for_many_values_and_a_population(name, nesterov):
    traces = []

    @jax.jit
    def population(hypers):
        traces.append(1)
        return jax.vmap(lambda hyper: ours(name, hyper, nesterov))(hypers)

    for pair in ((HYPER, OTHER), (OTHER, HYPER._replace(weight_decay=0.0))):
        for hyper, params in zip(pair, population(traced(*pair)), strict=True):
            assert_close(name, params, theirs(name, hyper, nesterov))
    assert len(traces) == 1


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_state_has_one_structure_whatever_the_values(name):
    specs = [jax.eval_shape(lambda h: optim.transform(name, h).init(PARAMS), traced(h)) for h in (HYPER, OTHER)]
    assert jax.tree.structure(specs[0]) == jax.tree.structure(specs[1])
    assert jax.tree.leaves(specs[0]) == jax.tree.leaves(specs[1])


def test_no_momentum_is_plain_gradient_descent_bit_for_bit():
    hyper = traced(OTHER)
    optimizer, grads = optim.transform("sgd", hyper), NOISE[0]
    state = optimizer.init(PARAMS)
    for _ in range(2):
        direction, state = optimizer.update(grads, state, PARAMS)
        np.testing.assert_array_equal(direction, grads)


def first_direction(name, **changes):
    params, grads = jnp.array([2.0, -3.0]), jnp.array([0.5, 0.25])
    optimizer = optim.transform(name, traced(HYPER._replace(eps=0.0, initial_accumulator=0.0, **changes)))
    return optimizer.update(grads, optimizer.init(params), params)[0]


@pytest.mark.parametrize(
    ("name", "by_hand"),
    {  # params [2, -3], grads [0.5, 0.25], weight decay 0.5: the L2 gradient is [1.5, -1.25]
        "sgd": [1.5, -1.25],
        "adam": [1, -1],  # the sign of the L2 gradient
        "adagrad": [1, -1],
        "rmsprop": [1 / 0.05**0.5, -1 / 0.05**0.5],
        "adamw": [1 + 1, 1 - 1.5],  # the sign of the gradient, then the decay
        "lion": [1 + 1, 1 - 1.5],
    }.items(),
)
def test_weight_decay_by_hand(name, by_hand):
    np.testing.assert_allclose(first_direction(name, weight_decay=0.5), by_hand, rtol=1e-4)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_reads_what_it_says_and_no_more(name):
    base = jitted(name, traced(HYPER))
    read = {
        field
        for field, value in HYPER._asdict().items()
        if not np.array_equal(base, jitted(name, traced(HYPER._replace(**{field: 0.5 * value}))))
    }
    assert read == set(optim.READS[name])


def test_biases_have_a_rate_of_their_own():
    params = {"conv_0": {"kernel": 1.0, "bias": 1.0}, "norm_0": {"scale": 1.0, "bias": 1.0}}
    found = optim.rates(params, 0.5, HYPER._replace(bias_rate=8.0))
    assert found == {"conv_0": {"kernel": 0.5, "bias": 4.0}, "norm_0": {"scale": 0.5, "bias": 4.0}}
    assert optim.rates(params, 0.5, HYPER) == jax.tree.map(lambda leaf: 0.5, params)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_biases_are_not_decayed_the_more_for_their_rate(name):
    """Without a gradient, one step at rate 0.1 and decay 0.5 takes 5% of every leaf."""
    hyper = traced(HYPER._replace(bias_rate=8.0, weight_decay=0.5, momentum=0.0))
    params = {"kernel": jnp.array([2.0, -4.0]), "bias": jnp.array([2.0, -4.0])}
    optimizer, grads = optim.transform(name, hyper), jax.tree.map(jnp.zeros_like, params)
    direction, _ = optimizer.update(grads, optimizer.init(params), params)
    rates = optim.rates(params, 0.1, hyper)
    steps = jax.tree.map(lambda rate, d: rate * d, rates, direction)
    for leaf in steps.values():
        np.testing.assert_allclose(leaf, [0.1, -0.2], rtol=1e-6)


def test_nesterov_is_refused_where_there_is_none():
    for name in set(optim.OPTIMIZERS) - optim.NESTEROV:
        with pytest.raises(ValueError, match=f"nesterov=True: {name} has no such form"):
            optim.transform(name, HYPER, nesterov=True)


def test_tables_name_the_same_optimizers():
    assert set(optim.READS) == set(optim.OPTIMIZERS)
    with pytest.raises(KeyError):
        optim.transform("sgdd", HYPER)
