"""The test set: read by the runs of a trained group, all at once or some at a time, and by nothing else."""

import base64
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import activities, checkpoint, config, metrics, programs, train, writers
from fmnist_jax.data import Dataset
from fmnist_jax.errors import RunError
from fmnist_jax.hosts import ALONE, Hosts
from fmnist_jax.population import Population, Units
from fmnist_jax.programs import Group


class Outdated(RunError):
    """A trained group's last weights are not there any more; training goes on from an older checkpoint."""


def measure_group(
    group: Group,
    chosen: Sequence[int],
    dataset: Dataset,
    directory: Path,
    settings: config.Experiment,
    width: int | None = None,
    hosts: Hosts = ALONE,
    still_ours: Callable[[], None] = lambda: None,
) -> None:
    """Reads the test set with the `chosen` runs of a trained group, and writes test.json and predictions.npz.

    Where `settings` ask for activities, activities.npz too, which takes 8 bytes a run at once and pair of units.

    Args:
      width: how many runs at once; by default all.
      hosts: which do it together, each with its part of the runs; then all are chosen, and no activities are.
      still_ours: called before anything is written; raises where another process has taken the group over.

    Raises:
      Outdated: the group's last checkpoint is gone or damaged.
    """
    classes = np.uint8 if group.static.model.classes <= 256 else np.uint16
    if hosts.count == 1:
        finals, predictions, correlated = _measured(group, chosen, dataset, directory, settings, width, hosts)
    else:
        part, own = group.part(hosts.share(len(group.runs))), hosts.own(len(group.runs))
        everyone = range(len(part.runs))  # its copies too, which count nowhere
        finals, predictions, correlated = _measured(part, everyone, dataset, directory, settings, width, hosts)
        words = {name: values[:own].tolist() for name, values in finals.items()}
        everyones = hosts.gather([words, base64.b64encode(predictions[:own].astype(classes).tobytes()).decode()])
        if everyones is None:
            return
        finals = {name: np.concatenate([one[name] for one, _ in everyones if one[name]]) for name in finals}
        content = b"".join(base64.b64decode(text) for _, text in everyones)
        predictions = np.frombuffer(content, classes).reshape(len(chosen), -1)
    labels = dataset.test_labels.astype(classes)
    still_ours()
    arrays = {"test": predictions.astype(classes), "runs": np.array(chosen), "labels": labels}
    writers.write_npz(directory / "predictions.npz", **arrays)
    results = [
        {**dataclasses.asdict(group.runs[run]), **{f"test_{name}": v[i] for name, v in finals.items()}}
        for i, run in enumerate(chosen)
    ]
    if measured := activities.write(directory, chosen, correlated):
        results = [{**row, **activities.columns(measured, i)} for i, row in enumerate(results)]
    # Last: with test.json all of it is there.
    of = {"runs": list(chosen), "activities": settings.evaluation.activities}
    writers.write_json(directory / "test.json", {**of, "results": results})


def _measured(
    group: Group,
    chosen: Sequence[int],
    dataset: Dataset,
    directory: Path,
    settings: config.Experiment,
    width: int | None,
    hosts: Hosts,
) -> tuple[dict[str, np.ndarray], np.ndarray, list]:
    """(metrics of each chosen run, predictions [R, N], activities of so many runs at once)."""
    last, parts, correlated = last_state(group, directory, settings, hosts), [], []
    for first in range(0, len(chosen), width or len(chosen)):
        part = np.array(chosen[first : first + (width or len(chosen))])
        state, hyper = jax.tree.map(lambda leaf, part=part: leaf[part], (train.selected(last), group.hyper))
        some = programs.population_of(group.static, len(part), settings)
        state, hyper = some.put(state), some.put(hyper)
        sums, predictions = predict_test(some, state, hyper, dataset, settings)
        parts.append((metrics.finalise(some.get(sums)), some.get(predictions)))
        if settings.evaluation.activities:
            correlated.append(activities.measure(_activities(some, state, hyper, dataset, settings)))
    return *jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts), correlated


def last_step(directory: Path, settings: config.Experiment) -> int:
    """The step at which a trained group's runs ended.

    Raises:
      Outdated: their checkpoint is gone or damaged.
    """
    step = checkpoint.Checkpoints(directory / "checkpoints", settings.checkpoint.keep).find()
    if step is None or step != writers.read_json(directory / "done.json")["step"]:
        raise Outdated(f"{directory}: trained, but its last checkpoint is not whole")
    return step


def last_state(
    group: Group, directory: Path, settings: config.Experiment, hosts: Hosts = ALONE, step: int | None = None
):
    """The state in which a trained group's runs ended, on the host, with a leading axis of runs.

    Args:
      hosts: which read it together; the group is then this host's part.
      step: `last_step`, where it is known.

    Raises:
      Outdated: its last checkpoint is gone or damaged.
    """
    if step is None:
        step = hosts.tell(last_step(directory, settings) if hosts.leads else None)
    everyone = programs.population_of(group.static, len(group.runs), settings)
    checkpoints = checkpoint.Checkpoints(directory / "checkpoints", settings.checkpoint.keep, hosts)
    return checkpoints.read(step, everyone.shapes(programs.seeds_of(group), group.hyper))


def predict_test(population: Population, state: Units, hyper: Units, dataset: Dataset, settings: config.Experiment):
    """Metric sums and predictions on the test set; the only reader of it."""
    indices = np.tile(np.arange(len(dataset.test_labels), dtype=np.int32), (population.runs, 1))
    sizes = np.full(population.runs, len(dataset.test_labels), np.int32)
    reader = programs.reach(population, dataset, settings)
    images, labels = reader(dataset.test_images), reader(dataset.test_labels)
    return population.evaluate(state, hyper, images, labels, population.put(indices), population.put(sizes))


def _activities(population: Population, state: Units, hyper: Units, dataset: Dataset, settings: config.Experiment):
    """What the last two layers of every run give for the first test images, a batch after the other."""
    count = min(settings.evaluation.activities, len(dataset.test_labels))
    batch = min(settings.evaluation.batch_size, count)
    for first in range(0, count, batch):
        chosen = np.arange(first, first + batch) % count  # the last batch is filled up, for one program to do
        images = population.share(np.asarray(dataset.test_images[chosen]))
        found = population.get(population.activities(state, hyper, images))
        yield jax.tree.map(lambda values, first=first: values[:, : count - first], found)
