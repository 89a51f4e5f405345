"""The engine at work: the runs of a config, in a process of its own or in this one, for as many steps as one asks."""

import functools
import multiprocessing
import os
from collections.abc import Collection, Hashable
from concurrent.futures import ProcessPoolExecutor

from benchmarks import sampling
from fmnist_jax import arms, config, data, groups, programs, sharding, timing

_load = functools.lru_cache(data.load)  # one copy on the host, whatever the number of engines


class Engine:
    """The runs of a study of one arm, made as the study makes them; nothing is evaluated or written."""

    def __init__(self, checked: config.Experiment):
        workshop = groups.Workshop(checked, _load)
        (arm,) = arms.arms_of(checked)
        seeds = range(checked.first_seed, checked.first_seed + checked.seeds)
        self.checked = checked
        self.group = workshop.group("measured", [workshop.prepare(arm)], [(0, seed, 0) for seed in seeds])
        self.dataset = workshop.dataset(self.group.source)
        self.runs = programs.population_of(self.group.static, len(seeds), checked)
        images = programs.images_of(self.runs, self.dataset, checked)
        self.inputs = programs.inputs_of(self.runs, self.group, self.dataset, images)
        self.state = self.runs.init(self.inputs)

    @property
    def static(self):
        """What decides the program."""
        return self.group.static

    @property
    def batch(self) -> int:
        """Images of a step of one run."""
        return self.static.batch_size

    def seconds(self, steps: int) -> float:
        """Of so many steps of every run, dispatched as a study does and waited for."""
        self.state, seconds = timing.time_steps(self.runs, self.state, self.inputs, steps)
        return seconds

    def steps_in(self, seconds: float) -> int:
        """The steps that take about so many seconds; compiles."""
        self.seconds(1)
        return sampling.steps_in(seconds, self.seconds)[0]


def worker(cores: Collection[int]) -> ProcessPoolExecutor:
    """One process that may use some cores of this machine and no others, with one XLA device a core."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, _begin, (frozenset(cores),))


def _begin(cores: frozenset[int]) -> None:
    # Before JAX first looks for devices: XLA sizes its thread pool by the cores it may use then. Without this, one
    # device alone would have the pool of all cores, and "one core" would not be one.
    os.sched_setaffinity(0, cores)
    sharding.configure("cpu")


_held: dict[Hashable, Engine] = {}  # in the process of a worker


def build(name: Hashable, checked: config.Experiment, seconds: float) -> tuple[int, int]:
    """Makes an engine that this process keeps; (steps of it that take about `seconds`, images in a step of one run)."""
    _held[name] = Engine(checked)
    return _held[name].steps_in(seconds), _held[name].batch


def seconds_of(name: Hashable, steps: int) -> float:
    """Of so many steps of every run of an engine that was built here."""
    return _held[name].seconds(steps)
