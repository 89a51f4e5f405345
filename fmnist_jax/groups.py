"""Runs into groups: all that share a compiled program and a data set, cut where memory ends.

A group is what its group.json says, so that a workdir can be resumed, retried and extended: runs that no group has yet
(of a new seed, of a new arm) make new groups, and those that are there are left alone.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence, Set
from typing import NamedTuple

import jax
import numpy as np

from fmnist_jax import arms, config, experiment, forms, memory, models, sharding, train, weights
from fmnist_jax.arms import Arm
from fmnist_jax.data import Dataset, load, splits
from fmnist_jax.programs import Group, Run, residence

# As many floating-point operations take the time that an image of a small MLP takes for all but its products: nets of
# 10, 50 and 200 hidden units train 2.1, 0.78 and 0.25 million images/s on two cores (configs/lr_x_width.py, sessions).
BESIDE_PRODUCTS = 22_000


class RunKey(NamedTuple):
    """A run, whatever its arm is called at the moment."""

    arm: str  # arms.identity of its override
    seed: int
    fold: int


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """An arm on its data: all that a run needs but a seed and a fold."""

    arm: Arm
    static: experiment.Static
    hyper: experiment.Hyper
    source: config.DatasetConfig
    split: splits.Split


class Workshop:
    """Prepares arms; a data set and its folds are made once for all arms that share them."""

    def __init__(self, checked: config.Experiment, load_dataset: Callable = load):
        self.checked = checked
        self._load, self._datasets, self._splits = load_dataset, {}, {}

    def dataset(self, source: config.DatasetConfig) -> Dataset:
        """The images of an arm."""
        key = _data_key(source)
        if key not in self._datasets:
            how = {"data_dir": source.data_dir, "image_size": source.image_size, "centre": source.centre}
            self._datasets[key] = self._load(source.name, **how)
        return self._datasets[key]

    def streamed(self, sources: Iterable[config.DatasetConfig]) -> list[str]:
        """Why the images of these are streamed, in a line each; none where they are not."""
        distinct = {_data_key(source): source for source in sources}.values()  # of a hundred thousand arms, perhaps
        places = (residence(self.dataset(source), self.checked) for source in distinct)
        return list(dict.fromkeys(str(place) for place in places if place.streamed))

    def fingerprints(self) -> dict[str, str]:
        """Data set -> SHA-256 of its content, of all that were loaded. A place of the study's own may change."""
        own = self.checked.dataset.data_dir
        return {
            f"{name}@{size}" + " centred" * centre + (f" in {place}" if place != own else ""): dataset.fingerprint
            for (name, place, size, centre), dataset in self._datasets.items()
        }

    def split(self, source: config.DatasetConfig, whole: bool = False) -> splits.Split:
        """The folds, or the one validation split, of an arm; `whole`: all of the training set and no validation."""
        labels, checked = self.dataset(source).train_labels, self.checked
        used = splits.subset(labels, source.images, source.split_seed)
        if whole:
            return splits.stack([(used, np.empty(0, np.int32))])
        key = split_key(source)
        if key not in self._splits:
            if checked.folds > 1:
                pairs = splits.k_folds(labels[used], checked.folds, source.split_seed, checked.stratified)
            else:
                fraction, seed = source.validation_fraction, source.split_seed
                pairs = [splits.validation_split(labels[used], fraction, seed, checked.stratified)]
            self._splits[key] = splits.stack([(used[train], used[validation]) for train, validation in pairs])
        return self._splits[key]

    def prepare(self, arm: Arm, whole: bool = False) -> Prepared:
        """`arm` on its data.

        Raises:
          UserError: the arm does not fit the data.
        """
        source = arm.experiment.dataset
        dataset, split = self.dataset(source), self.split(source, whole)
        static, hyper = experiment.resolve(
            arm.experiment,
            image_shape=tuple(dataset.train_images.shape[1:]),
            classes=len(dataset.class_names),
            train_size=int(split.train_size.min()),
            conv_method=forms.choose_conv(
                self.checked.population.conv,
                jax.default_backend(),
                self.checked.population.mode,
                arm.experiment.mesh,
            ),
        )
        return Prepared(arm, static, hyper, source, split)

    def group(self, name: str, prepared: Sequence[Prepared], runs: Sequence[tuple[int, int, int]]) -> Group:
        """A group of runs (index into `prepared`, seed, fold)."""
        first = prepared[runs[0][0]]
        hyper = jax.tree.map(lambda *leaves: np.stack(leaves), *(prepared[i].hyper for i, _, _ in runs))
        named = tuple(Run(prepared[i].arm.name, seed, fold) for i, seed, fold in runs)
        return Group(name, first.static, named, hyper, first.split, first.source)


def wanted(checked: config.Experiment, study_arms: Sequence[Arm]) -> list[tuple[Arm, RunKey]]:
    """Every run of the study: seed by seed, so that the first parts of a cut group have every arm."""
    identities = [arms.identity(arm.override) for arm in study_arms]
    seeds = range(checked.first_seed, checked.first_seed + checked.seeds)
    return [
        (arm, RunKey(identity, seed, fold))
        for seed in seeds
        for fold in range(checked.folds)
        for arm, identity in zip(study_arms, identities, strict=True)
    ]


def divide(
    workshop: Workshop,
    study_arms: Sequence[Arm],
    there: Iterable[RunKey] = (),
    limits: dict[RunKey, int] | None = None,
    own: Set[RunKey] | None = None,
) -> list[tuple[list[Prepared], list[tuple[int, int, int]]]]:
    """The runs that are not `there` yet as (arms, runs) a group, those that take the least time first.

    Args:
      limits: of runs that once did not fit, how many of them a group may have.
      own: the runs of this process's share; None for all.
    """
    there, limits = set(there), limits or {}
    by_program: dict[tuple, list[tuple[Arm, RunKey]]] = {}
    prepared = {arm.name: workshop.prepare(arm) for arm in study_arms}
    for arm, key in wanted(workshop.checked, study_arms):
        if key not in there and (own is None or key in own):
            one = prepared[arm.name]
            alone = key.fold if one.static.carry_over else None  # folds one after the other
            by_program.setdefault((one.static, split_key(one.source), alone), []).append((arm, key))
    parts = []
    for runs in by_program.values():
        _check_weights(prepared[runs[0][0].name])
        most = most_runs(prepared[runs[0][0].name], workshop)
        for part in _cut(runs, min([most, *(limits[key] for _, key in runs if key in limits)])):
            names = list(dict.fromkeys(arm.name for arm, _ in part))
            index = {name: i for i, name in enumerate(names)}
            parts.append(([prepared[n] for n in names], [(index[arm.name], key.seed, key.fold) for arm, key in part]))
    return sorted(parts, key=lambda part: cost(part[0][0].static) * len(part[1]))


def of_shard(shard: tuple[int, int], workshop: Workshop, study_arms: Sequence[Arm]) -> set[RunKey]:
    """The runs of the i-th of n shares: of equal work, and of as few programs as that allows.

    The study's runs are laid out by the work they are, program after program; the middle of a run says whose it is. So
    it depends on the config alone, not on what is there or on what fits. Folds that leak stay together.
    """
    i, n = shard
    prepared = {arm.name: workshop.prepare(arm) for arm in study_arms}
    by_program: dict[tuple, dict[RunKey, list[RunKey]]] = {}
    for arm, key in wanted(workshop.checked, study_arms):
        one = prepared[arm.name]
        program = by_program.setdefault((one.static, split_key(one.source)), {})
        program.setdefault(key._replace(fold=0) if one.static.carry_over else key, []).append(key)
    units = [(int(cost(static)) * len(keys), keys) for (static, _), of in by_program.items() for keys in of.values()]
    total, ends = sum(each for each, _ in units), itertools.accumulate(each for each, _ in units)
    # Of whole numbers: machines that rounded differently would train a run twice, or never.
    own = (keys for end, (each, keys) in zip(ends, units, strict=True) if n * (2 * end - each) // (2 * total) == i)
    return {key for keys in own for key in keys}


def _check_weights(prepared: Prepared) -> None:
    """Refuses a file that a run of it could not start from, before there is anything to leave behind."""
    if prepared.static.weights:
        init = train.make_train(prepared.static).init
        state = jax.eval_shape(init, jax.ShapeDtypeStruct((), np.uint32), prepared.hyper)
        weights.load(prepared.static.weights, weights.Variables(state.params, state.batch_stats))


def most_runs(prepared: Prepared, workshop: Workshop) -> int:
    """How many runs of this program memory, and the config, allow in one group."""
    checked = workshop.checked
    mode = forms.choose_mode(checked.population.mode, prepared.static)
    devices = len(sharding.slots_for(10**9, checked.population.devices, prepared.static.mesh))
    left = residence(workshop.dataset(prepared.source), checked).left
    most = memory.most_runs(prepared.static, prepared.hyper, mode, devices, left)
    return min(most, checked.population.most_runs or most)


def cost(static: experiment.Static) -> float:
    """What a run takes, in no unit: products, and what goes beside them. For order and shares, not for seconds."""
    of_image = models.forward_flops(static.model, static.image_shape) + BESIDE_PRODUCTS
    return of_image * static.batch_size * max(1, static.total_steps)  # weights that are only measured take time too


def _cut(runs: list, most: int) -> list[list]:
    """As few parts as `most` allows, of one size or one less."""
    parts = -(-len(runs) // most)
    return [runs[len(runs) * i // parts : len(runs) * (i + 1) // parts] for i in range(parts)]


def _data_key(source: config.DatasetConfig) -> tuple:
    return source.name, source.data_dir, source.image_size, source.centre


def split_key(source: config.DatasetConfig) -> tuple:
    """What decides which images are trained on."""
    return *_data_key(source), source.images, source.validation_fraction, source.split_seed
