"""Learning-rate schedules with traced hyper-parameters; optax's own branch in Python on theirs."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


class ScheduleHyper(NamedTuple):
    """Scalars of every schedule, traced float32; READS says which ones a schedule looks at."""

    learning_rate: ArrayLike  # the peak
    warmup_epochs: ArrayLike
    factor: ArrayLike
    every_epochs: ArrayLike
    final_fraction: ArrayLike
    pct_start: ArrayLike
    div_factor: ArrayLike
    final_div_factor: ArrayLike


def _period(hyper: ScheduleHyper, steps_per_epoch: int) -> Array:
    return jnp.maximum(jnp.round(hyper.every_epochs * steps_per_epoch), 1)


def _ease(start: ArrayLike, end: ArrayLike, remaining: Array) -> Array:
    """Half a cosine from `start` (remaining = 1) to `end` (0); sin^2 does not cancel near `end` as 1 + cos does."""
    return end + (start - end) * jnp.sin(jnp.pi / 2 * remaining) ** 2


def _constant(t: Array, span: Array, hyper: ScheduleHyper, steps_per_epoch: int) -> Array:
    return hyper.learning_rate


def _step(t: Array, span: Array, hyper: ScheduleHyper, steps_per_epoch: int) -> Array:
    return hyper.learning_rate * hyper.factor ** jnp.floor(t / _period(hyper, steps_per_epoch))


def _halve(t: Array, span: Array, hyper: ScheduleHyper, steps_per_epoch: int) -> Array:
    return _step(t, span, hyper._replace(factor=0.5), steps_per_epoch)


def _exponential(t: Array, span: Array, hyper: ScheduleHyper, steps_per_epoch: int) -> Array:
    return hyper.learning_rate * hyper.factor ** (t / _period(hyper, steps_per_epoch))


def _cosine(t: Array, span: Array, hyper: ScheduleHyper, steps_per_epoch: int) -> Array:
    peak = hyper.learning_rate
    return _ease(peak, hyper.final_fraction * peak, jnp.maximum(span - t, 0) / span)


def _one_cycle(t: Array, span: Array, hyper: ScheduleHyper, steps_per_epoch: int) -> Array:
    peak, low = hyper.learning_rate, hyper.learning_rate / hyper.div_factor
    turn = jnp.floor(hyper.pct_start * span)
    rise = _ease(peak, low, t / turn)
    fall = _ease(peak, low / hyper.final_div_factor, jnp.maximum(span - t, 0) / jnp.maximum(span - turn, 1))
    return jnp.where(t < turn, rise, fall)


# (t: steps since the warm-up, span: steps from there to the end, hyper, steps_per_epoch) -> rate
SCHEDULES: dict[str, Callable[[Array, Array, ScheduleHyper, int], Array]] = {
    "constant": _constant,
    "step": _step,
    "halve": _halve,
    "exponential": _exponential,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}

# Beside learning_rate and warmup_epochs, which all of them read.
READS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "step": ("factor", "every_epochs"),
    "halve": ("every_epochs",),
    "exponential": ("factor", "every_epochs"),
    "cosine": ("final_fraction",),
    "one_cycle": ("pct_start", "div_factor", "final_div_factor"),
}


def rate(name: str, step: ArrayLike, hyper: ScheduleHyper, *, total_steps: int, steps_per_epoch: int) -> Array:
    """The learning rate at `step` (the first is 0), a float32 scalar.

    A linear warm-up from 0 over w = round(warmup_epochs * steps_per_epoch) steps, then schedule `name` as of step w:
    constant; step and halve: times factor (0.5) every every_epochs epochs; exponential: the same, continuously
    (optax.exponential_decay); cosine: to final_fraction of the peak (Loshchilov & Hutter 2017, (5)); one_cycle: Smith &
    Topin 2018 as optax.cosine_onecycle_schedule. The last two span the total_steps - w steps left, and hold their
    last value after. Periods are whole steps, at least 1. Raises KeyError for an unknown name.
    """
    warmup = jnp.round(hyper.warmup_epochs * steps_per_epoch)
    # Past the warm-up its line may be 0 / 0, before its end the schedule is extrapolated: neither is then taken.
    after = SCHEDULES[name](step - warmup, jnp.maximum(total_steps - warmup, 1), hyper, steps_per_epoch)
    return jnp.where(step < warmup, hyper.learning_rate * step / warmup, after).astype(jnp.float32)
