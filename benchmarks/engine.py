"""The engine at work: the runs of a config, in a process of its own or in this one, for as many steps as one asks."""

import functools
import multiprocessing
import os
from collections.abc import Collection
from typing import Any

import numpy as np

from fmnist_jax import arms, config, data, groups, programs, sharding, timing

_load = functools.lru_cache(data.load)  # one copy on the host, whatever the number of engines


class Engine:
    """The runs of a study of one arm, made as the study makes them; nothing is evaluated or written."""

    def __init__(self, checked: config.Experiment):
        workshop = groups.Workshop(checked, _load)
        (arm,) = arms.arms_of(checked)
        seeds = range(checked.first_seed, checked.first_seed + checked.seeds)
        self.group = workshop.group("measured", [workshop.prepare(arm)], [(0, seed, 0) for seed in seeds])
        self.dataset = workshop.dataset(self.group.source)
        self.runs = programs.population_of(self.group.static, len(seeds), checked)
        images = programs.images_of(self.runs, self.dataset, checked)
        self.inputs = programs.inputs_of(self.runs, self.group, self.dataset, images)
        self.state = self.runs.init(self.inputs)

    @property
    def batch(self) -> int:
        """Images of a step of one run."""
        return self.group.static.batch_size

    def seconds(self, steps: int) -> float:
        """Of so many steps of every run, dispatched as a study does and waited for."""
        self.state, seconds = timing.time_steps(self.runs, self.state, self.inputs, steps)
        return seconds

    def steps_in(self, seconds: float) -> int:
        """The steps that take about so many seconds, found in less time than that; compiles."""
        self.seconds(1)
        steps = 1
        while (took := self.seconds(steps)) < seconds / 5:
            steps *= int(np.clip(seconds / 3 / took, 2, 20))
        return max(1, round(seconds * steps / took))


class Engines:
    """Several engines in one process, by name."""

    def __init__(self):
        self.held: dict[Any, Engine] = {}

    def build(self, name, checked: config.Experiment, seconds: float) -> tuple[int, int]:
        """Makes one; (steps of it that take about `seconds`, images in a step of one run)."""
        self.held[name] = Engine(checked)
        return self.held[name].steps_in(seconds), self.held[name].batch

    def seconds(self, name, steps: int) -> float:
        """Of so many steps of every run."""
        return self.held[name].seconds(steps)


class Worker:
    """A process that holds `Engines` on some cores of this machine, and on no others, with one XLA device a core."""

    def __init__(self, cores: Collection[int]):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_work, args=(theirs, frozenset(cores)), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, method: str, *args):
        """What a method of its `Engines` returns; raises what it raised, as a RuntimeError."""
        self.pipe.send((method, args))
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.pipe.close()
        self.process.join(10)


def _work(pipe, cores: frozenset[int]) -> None:
    # Before JAX first looks for devices: XLA sizes its thread pool by the cores it may use then. Without this, one
    # device alone would have the pool of all cores, and "one core" would not be one.
    os.sched_setaffinity(0, cores)
    sharding.configure("cpu")
    engines = Engines()
    while True:
        try:
            method, args = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(getattr(engines, method)(*args))
        except Exception as error:
            pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
