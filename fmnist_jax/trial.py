"""A group's programs tried for a moment on its own data: what a plan times and a profile traces. Nothing is kept."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from fmnist_jax import config, forms, programs, sharding, timing
from fmnist_jax.data import Dataset

MEASURE_SECONDS = 1.0  # of a group's steps
DISPATCH_SECONDS = 0.3
MAPPED_RUNS = 8  # mapped runs take their time in turn: as many stand for more


def part_of(group: programs.Group, checked: config.Experiment) -> programs.Group:
    """As many runs of a group as show what all of them will take."""
    if forms.choose_mode(checked.population.mode, group.static) == "vmap":
        return group
    devices = len(sharding.slots_for(len(group.runs), checked.population.devices, group.static.mesh))
    width = min(len(group.runs), max(1, MAPPED_RUNS // devices) * devices)
    hyper = jax.tree.map(lambda leaf: leaf[:width], group.hyper)
    return dataclasses.replace(group, runs=group.runs[:width], hyper=hyper)


class Trial:
    """A first step and evaluation of a group, which compile; then more of them, timed. All thrown away."""

    def __init__(self, group: programs.Group, dataset: Dataset, checked: config.Experiment):
        self.runs = programs.population_of(group.static, len(group.runs), checked)
        images = programs.images_of(self.runs, dataset, checked)
        self.inputs = programs.inputs_of(self.runs, group, dataset, images)
        self.looked_at = self.inputs.validation, self.inputs.validation_size
        if not group.split.validation.shape[1]:  # then test images are looked at, which take as long
            count = min(len(dataset.test_labels), group.split.train.shape[1])
            self.looked_at = (
                self.inputs.train.map(lambda part: part[..., :count]),
                self.inputs.train_size.map(lambda part: jnp.minimum(part, count)),
            )
        self.trained = group.static.total_steps > 0
        state = self.runs.init(self.inputs)
        self.state = self._closed(self.runs.segment(state, self.inputs, 0, 1) if self.trained else state)
        self.compile_seconds = self.runs.compile_seconds

    def _closed(self, state):
        inputs = self.inputs
        sums = self.runs.evaluate(state, inputs.hyper, inputs.images, inputs.labels, *self.looked_at)[0]
        jax.block_until_ready(sums.parts)
        closed = self.runs.close_segment(state, inputs, sums)
        jax.block_until_ready(closed.parts)
        return closed

    def time_evaluation(self) -> float:
        """Seconds of evaluating all runs, an image."""
        start = time.perf_counter()
        self._closed(self.state)
        return (time.perf_counter() - start) / self.looked_at[0].parts[0].shape[-1]

    def time_step(self) -> float:
        """Median seconds of a step of all runs, dispatched many at once as the study does, within an epoch; or 0."""
        if not self.trained:
            return 0.0
        state, steps, seconds = self.state, 1, []
        began = time.perf_counter()
        while time.perf_counter() - began < MEASURE_SECONDS or len(seconds) < 3:
            state, took = timing.time_steps(self.runs, state, self.inputs, steps)
            seconds.append(took / steps)
            steps = int(np.clip(steps * DISPATCH_SECONDS / took, 1, min(4 * steps, self.runs.static.steps_per_epoch)))
        return float(np.median(seconds[len(seconds) // 2 :]))
