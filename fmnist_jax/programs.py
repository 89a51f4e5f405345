"""A group's runs as values: who they are, the programs that train them, and what those read."""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np

from fmnist_jax import config, experiment, forms, memory, sharding
from fmnist_jax.data import Dataset
from fmnist_jax.data.splits import Split
from fmnist_jax.population import Inputs, Population
from fmnist_jax.streaming import Streamed


@dataclasses.dataclass(frozen=True)
class Run:
    """One training."""

    arm: str
    seed: int
    fold: int


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs that share a compiled program."""

    name: str
    static: experiment.Static
    runs: tuple[Run, ...]
    hyper: experiment.Hyper  # leaves [R, ...]
    split: Split
    source: config.DatasetConfig
    begin: Callable | None = None  # (drawn states of some runs, on the host; which) -> those that they start from

    def part(self, chosen: np.ndarray) -> "Group":
        """The group of some of its runs."""
        begin = self.begin and (lambda state, some: self.begin(state, chosen[some]))
        hyper = jax.tree.map(lambda leaf: leaf[chosen], self.hyper)
        return dataclasses.replace(self, runs=tuple(self.runs[i] for i in chosen), hyper=hyper, begin=begin)


def population_of(static: experiment.Static, runs: int, settings: config.Experiment) -> Population:
    """The programs of `runs` runs, on the devices and in the mode that `settings` ask for."""
    devices = sharding.slots_for(runs, settings.population.devices, static.mesh)
    return Population(static, runs, devices, forms.choose_mode(settings.population.mode, static))


def seeds_of(group: Group) -> np.ndarray:
    """[R] uint32."""
    return np.array([run.seed for run in group.runs], np.uint32)


def residence(dataset: Dataset, settings: config.Experiment) -> memory.Images:
    """How the images of a data set, which are not read, get to the devices that `settings` ask for."""
    images = len(dataset.train_labels) + len(dataset.test_labels)
    size = images * math.prod(dataset.train_images.shape[1:]) * dataset.train_images.dtype.itemsize
    devices = sharding.devices_for(10**9, settings.population.devices)
    sharing = len(devices) if devices[0].platform == "cpu" else 1
    limit = memory.limit(settings.population.memory_gb)
    return memory.Images(size, sharing, limit, settings.population.stream)


def reach(population: Population, dataset: Dataset, settings: config.Experiment) -> Callable:
    """What makes of an array of the data set something that a population reads."""
    place = residence(dataset, settings)
    if place.streamed:
        return lambda array: Streamed(array, place.chunks)
    return lambda array: population.share(np.asarray(array))


def images_of(population: Population, dataset: Dataset, settings: config.Experiment) -> tuple:
    """Training images and labels as the runs read them: on the devices, or streamed there."""
    reader = reach(population, dataset, settings)
    return reader(dataset.train_images), reader(dataset.train_labels)


def inputs_of(population: Population, group: Group, dataset: Dataset, images: tuple) -> Inputs:
    """What the runs of a group read in training, with `images` and labels as `images_of` gives them."""
    images, labels = images
    folds = np.array([run.fold for run in group.runs])
    split = group.split
    return Inputs(
        seeds=population.put(seeds_of(group)),
        hyper=population.put(group.hyper),
        images=images,
        labels=labels,
        train=population.put(split.train[folds]),
        train_size=population.put(split.train_size[folds]),
        validation=population.put(split.validation[folds]),
        validation_size=population.put(split.validation_size[folds]),
    )
