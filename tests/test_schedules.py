"""Schedules against optax's own: untraced, and in float64, so that the tolerance is ours alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fmnist_jax import schedules
from fmnist_jax.schedules import ScheduleHyper

STEPS_PER_EPOCH, TOTAL = 12, 150
HYPER = ScheduleHyper(
    learning_rate=0.3,
    warmup_epochs=0.5,
    factor=0.7,
    every_epochs=2.0,
    final_fraction=0.01,
    pct_start=0.3,
    div_factor=25.0,
    final_div_factor=1e4,
)
OTHER = ScheduleHyper(
    learning_rate=0.02,
    warmup_epochs=0.0,
    factor=0.8,
    every_epochs=0.25,
    final_fraction=0.0,
    pct_start=0.05,
    div_factor=3.0,
    final_div_factor=20.0,
)
STEPS = np.arange(TOTAL + 10)  # the first twenty, the turns, the end, and past it


def theirs(name, hyper):
    """optax's own schedule for Python numbers, with optax's own warm-up and join."""
    peak, factor = hyper.learning_rate, hyper.factor
    period = round(hyper.every_epochs * STEPS_PER_EPOCH)
    warmup = round(hyper.warmup_epochs * STEPS_PER_EPOCH)
    span = TOTAL - warmup
    jumps = range(period, TOTAL + period + 10, period)
    after = {
        "constant": lambda: optax.constant_schedule(peak),
        "step": lambda: optax.piecewise_constant_schedule(peak, dict.fromkeys(jumps, factor)),
        "halve": lambda: optax.piecewise_constant_schedule(peak, dict.fromkeys(jumps, 0.5)),
        "exponential": lambda: optax.exponential_decay(peak, period, factor),
        "cosine": lambda: optax.cosine_decay_schedule(peak, span, hyper.final_fraction),
        "one_cycle": lambda: optax.cosine_onecycle_schedule(
            span, peak, hyper.pct_start, hyper.div_factor, hyper.final_div_factor
        ),
    }[name]()
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def theirs_at(name, hyper, steps=STEPS):
    with jax.enable_x64(True):
        return np.array([theirs(name, hyper)(int(step)) for step in steps], np.float64)


def traced(*hypers):
    """Float32 scalars of one hyper; of several, stacked along a run axis."""
    return jax.tree.map(lambda *xs: jnp.array(xs, jnp.float32) if len(xs) > 1 else jnp.float32(xs[0]), *hypers)


def ours(name, hyper):
    def at(step):
        return schedules.rate(name, step, hyper, total_steps=TOTAL, steps_per_epoch=STEPS_PER_EPOCH)

    return jax.vmap(at)(jnp.asarray(STEPS, jnp.int32))


jitted = jax.jit(ours, static_argnums=0)


@pytest.mark.parametrize("hyper", [HYPER, OTHER], ids=["warmup", "cold"])
@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_agrees_with_optax(name, hyper):
    curve = jitted(name, traced(hyper))
    assert curve.dtype == jnp.float32
    np.testing.assert_allclose(curve, theirs_at(name, hyper), rtol=1e-6)


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_one_trace_for_many_values_and_a_population(name):
    traces = []

    @jax.jit
    def population(hypers):
        traces.append(1)
        return jax.vmap(lambda hyper: ours(name, hyper))(hypers)

    for pair in ((HYPER, OTHER), (OTHER, HYPER._replace(learning_rate=1.0, warmup_epochs=3.0))):
        for hyper, curve in zip(pair, population(traced(*pair)), strict=True):
            np.testing.assert_allclose(curve, jitted(name, traced(hyper)), rtol=1e-5, atol=1e-12)
    assert len(traces) == 1


def test_by_hand():
    hyper = traced(HYPER._replace(learning_rate=8.0, factor=0.25, every_epochs=1.0, warmup_epochs=1 / 3))

    def at(name, step):
        return float(schedules.rate(name, step, hyper, total_steps=104, steps_per_epoch=12))

    assert [at("constant", s) for s in range(6)] == [0, 2, 4, 6, 8, 8]
    assert [at("step", s) for s in (4, 15, 16, 27, 28)] == [8, 8, 2, 2, 0.5]
    assert [at("halve", s) for s in (4, 15, 16, 27, 28)] == [8, 8, 4, 4, 2]
    assert at("exponential", 10) == pytest.approx(4)
    assert at("cosine", 54) == pytest.approx((8 + 0.08) / 2)
    assert at("one_cycle", 4) == pytest.approx(8 / 25)
    assert at("one_cycle", 34) == pytest.approx(8)
    assert at("one_cycle", 104) == pytest.approx(8 / 25 / 1e4)


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_reads_what_it_says_and_no_more(name):
    base = jitted(name, traced(HYPER))
    read = {
        field
        for field, value in HYPER._asdict().items()
        if not np.array_equal(base, jitted(name, traced(HYPER._replace(**{field: 1.5 * value}))))
    }
    assert read == {"learning_rate", "warmup_epochs", *schedules.READS[name]}


@pytest.mark.parametrize("name", schedules.SCHEDULES)
@pytest.mark.parametrize("warmup_epochs", [0.0, 12.5, 100.0])
def test_edges_stay_finite(name, warmup_epochs):
    """No epochs between drops, a warm-up as long as training or longer, a turn at the first or last step."""
    for pct_start in (0.0, 1.0):
        hyper = HYPER._replace(warmup_epochs=warmup_epochs, every_epochs=0.0, pct_start=pct_start)
        curve = np.asarray(jitted(name, traced(hyper)))
        assert np.isfinite(curve).all()
        assert (curve >= 0).all()
        assert (curve <= hyper.learning_rate * (1 + 1e-6)).all()


def test_tables_name_the_same_schedules():
    assert set(schedules.READS) == set(schedules.SCHEDULES)
    with pytest.raises(KeyError):
        schedules.rate("sawtooth", 0, HYPER, total_steps=1, steps_per_epoch=1)
