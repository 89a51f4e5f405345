"""What ideas are tried on: a run's whole step, with something patched in it, or one operation in a loop."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import record, sampling, workloads
from benchmarks.engine import Engine
from fmnist_jax import forms, train

STEPS = {"cnn": 12, "mlp": 400}  # of a call: about as long


class Method(NamedTuple):
    """How long is measured, and on what."""

    turns: int
    seconds: float  # of one sample, about
    smoke: bool

    def workload(self, net: str) -> str:
        """The workload of a net, or its tiny relative."""
        return f"{net}_tiny" if self.smoke else net

    def against(self, base: Callable, ways: Mapping[str, Callable]) -> dict[str, dict]:
        """Name -> how many times as fast as `base` each way is; each is called as often as fits a sample."""
        timed = {name: self._timed(call) for name, call in {"": base, **ways}.items()}
        samples = sampling.in_turns(timed, self.turns)
        return {name: record.ratios(samples[""], samples[name]) for name in ways}

    def _timed(self, call: Callable) -> Callable[[], float]:
        """The seconds of a call, over a sample of them; the first, which may compile, is none of it."""
        seconds_of = functools.partial(_seconds, call)
        seconds_of(1)
        times, _ = sampling.steps_in(self.seconds, seconds_of)
        return lambda: seconds_of(times) / times

    def whole_step(
        self, idea: str, ways: Mapping[str, contextlib.AbstractContextManager], nets=("cnn",), note: str = "", **keys
    ) -> list[dict]:
        """A row for each net and each way: what to call it -> what is patched while the step's program is traced."""
        rows = []
        for net in nets:
            run = Run(self.workload(net), STEPS[net], **keys)
            found = self.against(run.segment(), {name: run.segment(patched=patch) for name, patch in ways.items()})
            rows += [row(idea, ", ".join(filter(None, (net, "whole step", name))), found[name], note) for name in ways]
        return rows


def _seconds(call: Callable, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        out = call()
    jax.block_until_ready(out)
    return time.perf_counter() - start


class Run:
    """One run of a workload, for programs made of `train.make_train`."""

    def __init__(self, workload: str, steps: int, **keys):
        engine = Engine(workloads.checked(workload, population__devices=1, **keys))
        self.static = engine.static
        steps = min(steps, self.static.steps_per_epoch)
        self.steps = steps // 4 * 4 or steps  # a loop of four steps a turn does as many
        dataset = engine.dataset
        self.hyper = jax.tree.map(lambda leaf: leaf[0], engine.group.hyper)
        self.data = jax.device_put((np.asarray(dataset.train_images), dataset.train_labels), jax.devices()[0])
        self.order = np.random.default_rng(0).permutation(len(dataset.train_labels)).astype(np.int32)

    def segment(self, *, donate: bool = False, patched=None) -> Callable:
        """A call that trains `steps` steps from where the last ended and returns the sum of losses so far.

        The program is traced while `patched` holds.
        """
        with patched or contextlib.nullcontext():
            run = train.make_train(self.static)
            state = jax.jit(run.init)(jnp.uint32(0), self.hyper)
            rest = (self.hyper, *self.data, self.order, np.int32(0), np.int32(self.steps))
            program = jax.jit(run.segment, donate_argnums=(0,) if donate else ()).lower(state, *rest)
            program = program.compile(forms.compiler_options("cpu"))
        held = [state]

        def call():
            held[0] = program(held[0], *rest)
            return held[0].sums.loss + 0  # a donated state is gone when the next call begins

        return call


def looped(function: Callable, *arrays, times: int = 8) -> Callable:
    """A call of `function` on arrays, so often in a loop.

    Every array is another one each time, by its first number, so that nothing of it can be done once for all; and all
    of the output is carried on, so that none of it can be left out.
    """

    def program(*arrays):
        def body(i, carried):
            arrays, out = carried
            small = 1e-30 * out.ravel()[0]
            arrays = tuple(array.at[(0,) * array.ndim].add(small) for array in arrays)
            return arrays, function(*arrays)

        shape = jax.eval_shape(function, *arrays)
        return lax.fori_loop(0, times, body, (arrays, jnp.zeros(shape.shape, shape.dtype)))[1]

    compiled = jax.jit(program).lower(*arrays).compile(forms.compiler_options("cpu"))
    return lambda: compiled(*arrays)


def row(idea: str, what: str, ratio: dict | None, note: str = "") -> dict:
    """An entry of the JSON; `ratio` is how many times as fast the idea makes it, None where it cannot be had."""
    return {"idea": idea, "what": what, "ratio": ratio, "n": ratio["n"] if ratio else 0, "note": note}
