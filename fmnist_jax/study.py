"""A question as a config -> arms x seeds x folds -> groups, trained and tested -> tables, verdicts and a page."""

import dataclasses
import shutil
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from fmnist_jax import arms, config, groups, outcomes, results, session, terminal, workdir, writers
from fmnist_jax.arms import Arm
from fmnist_jax.data import load
from fmnist_jax.errors import RunError, StorageError, UserError
from fmnist_jax.groups import Place, RunKey, Workshop

# These say where to work, what to keep and what to ask, not what a run computes: a workdir may go on under others.
# (Other devices move the last place of vmapped runs; environment.json says which there were.)
NOT_IN_A_RUN = (
    *("dataset.data_dir", "platform", "population.devices", "population.memory_gb"),
    *("checkpoint.every", "checkpoint.keep", "writers.tensorboard", "writers.page"),
    *("question", "metric", "claims", "selection.arm_by", "selection.refit", "evaluation.test"),
    *("sweep", "seeds", "first_seed"),  # which runs, not what one is: new ones are added to those that are there
)


def run(checked: config.Experiment, directory: Path, console: Console, retry: bool = False) -> results.Results:
    """Trains what is not done yet in `directory`, tests it, writes its tables and page, and shows the answer.

    Args:
      retry: train again the groups that failed.

    Raises:
      UserError: the config does not fit itself, the data, or the workdir.
      RunError: groups failed; the others' results are written and shown before.
      session.Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    study_arms = arms.arms_of(checked)
    results.check_claims(checked, study_arms)
    keys = {k: v for k, v in config.flatten(checked).items() if k not in NOT_IN_A_RUN}
    if finished := _finished(checked, study_arms, directory):
        workdir.check_same(directory, keys)
    else:
        _Study(checked, study_arms, directory, console, retry).complete(keys)
    with workdir.lock(directory):
        results.describe(directory, checked, study_arms)
        found = results.write(directory, console, trained=not finished)
    if failures := found.study.failures:
        first = failures[0]
        raise RunError(
            f"{len(failures)} of {len(groups.places(directory))} groups failed: {first['group']}: {first['error']}"
            + (f" (and {len(failures) - 1} more, in {directory / 'failures.json'})" if len(failures) > 1 else "")
            + "; --retry trains them again"
        )
    return found


def _finished(checked: config.Experiment, study_arms: Sequence[Arm], directory: Path) -> bool:
    """Whether there is nothing left to train or test; then neither the data nor a device is needed."""
    places = [place for place in groups.places(directory) if place.most is None]
    trained = {key for place in places if place.trained for key in place.runs()}
    if not trained.issuperset(key for _, key in groups.wanted(checked, study_arms)):
        return False
    return not list(_untested(checked, study_arms, directory, places)) and not _refit_is_due(checked, directory)


def _untested(checked: config.Experiment, study_arms: Sequence[Arm], directory: Path, places: Sequence[Place]):
    """(place, runs) that have still to read the test set."""
    wanted = {key for _, key in groups.wanted(checked, study_arms)}
    if checked.evaluation.test == "none":
        return
    if checked.evaluation.test == "chosen":
        chosen = results.chosen_arm(directory, checked, study_arms)
        identity = {arms.identity(arm.override) for arm in study_arms if arm.name == chosen}
        wanted = {key for key in wanted if key.arm in identity}
    for place in places:
        runs = [i for i, key in enumerate(place.runs()) if key in wanted]
        if place.trained and runs and not set(runs) <= place.tested_runs:
            yield place, sorted({*runs, *place.tested_runs})


def _refit_is_due(checked: config.Experiment, directory: Path) -> bool:
    return checked.selection.refit and not (directory / "refit" / "test.json").exists()


class Standing:
    """Where a workdir stands: the groups that have a run of the study, without those whose runs went to others.

    Attributes:
      places: them.
      runs: all that are in some group, of this study or of one it was before.
      waiting: those that are neither trained nor failed.
      limits: run -> how many a group of it may have, where more did not fit into memory.
    """

    def __init__(self, checked: config.Experiment, study_arms: Sequence[Arm], directory: Path):
        wanted = {key for _, key in groups.wanted(checked, study_arms)}
        there = groups.places(directory)
        self.places = [p for p in there if p.most is None and wanted & set(p.runs())]
        self.runs: set[RunKey] = {key for p in there if p.most is None for key in p.runs()}
        self.limits: dict[RunKey, int] = {}
        for place in there:
            if place.most is not None:
                self.limits |= {key: min(place.most, self.limits.get(key, place.most)) for key in place.runs()}
        self.waiting = [p for p in self.places if not p.trained and not p.failure]

    def shares(self) -> tuple[float, float]:
        """The work that is done, and that of the next group, as shares of all groups'."""
        costs = {p.name: p.contents["cost"] * len(p.contents["runs"]) for p in self.places}
        total, waiting = sum(costs.values()), {p.name for p in self.waiting}
        return sum(v for k, v in costs.items() if k not in waiting) / total, costs[self.waiting[0].name] / total


class _Study:
    """One process's work on a study."""

    def __init__(
        self, checked: config.Experiment, study_arms: Sequence[Arm], directory: Path, console: Console, retry: bool
    ):
        self.checked, self.arms, self.directory, self.console, self.retry = (
            checked,
            study_arms,
            directory,
            console,
            retry,
        )
        self.workshop = Workshop(checked, load)

    def complete(self, keys: dict) -> None:
        """Trains every group, then tests."""
        new = self._divide()  # refuses what does not fit before anything is written
        with workdir.lock(self.directory):
            workdir.claim(self.directory, {**keys, "dataset.fingerprint": self.workshop.fingerprints()})
            writers.write_json(self.directory / "environment.json", workdir.environment())
            results.describe(self.directory, self.checked, self.arms)
            if any(self.workshop.dataset(arm.experiment.dataset).synthetic for arm in self.arms):
                self.console.print("[bold]SYNTHETIC DATA[/bold]: drawn garments, not a real data set")
            self._describe_data()
            for part in new:
                groups.make_place(self.directory, *part)
            self._train_all()
            self._refit()
            self._test_all()
            self._keep_outcomes()

    def _describe_data(self) -> None:
        source = self.arms[0].experiment.dataset
        dataset, split = self.workshop.dataset(source), self.workshop.split(source)
        sizes = {"train_size": int(split.train_size.min()), "validation_size": int(split.validation_size.min())}
        writers.write_json(self.directory / "dataset.json", {"class_names": dataset.class_names, **sizes})

    def _keep_outcomes(self) -> None:
        chosen = results.chosen_arm(self.directory, self.checked, self.arms) or self.arms[0].name
        arm = next(arm for arm in self.arms if arm.name == chosen)
        if found := groups.tested(self.directory, arm.override):
            outcomes.write(self.directory, self.workshop.dataset(arm.experiment.dataset), found, chosen)

    def _standing(self) -> "Standing":
        return Standing(self.checked, self.arms, self.directory)

    def _divide(self):
        there = self._standing()
        return groups.divide(self.workshop, self.arms, there.runs, there.limits)

    def _train_all(self) -> None:
        if self.retry:
            for place in self._standing().places:
                (place.directory / "failed.json").unlink(missing_ok=True)
        with terminal.Live(self.console, self.directory.name, [arm.name for arm in self.arms]) as live:
            while (there := self._standing()).waiting:
                for place in there.places:
                    if place.trained:
                        live.add_finished(
                            place.name, lambda place=place: session.read_group(place.directory)["results"]
                        )
                live.of_study(len(there.places) - len(there.waiting), len(there.places), *there.shares())
                self._train(there.waiting[0], live)

    def _train(self, place: Place, live: terminal.Live) -> None:
        """One group; what goes wrong with it is written beside it, and goes no further."""
        try:
            group = place.build(self.workshop)
            session.train_group(group, self.workshop.dataset(group.source), place.directory, self.checked, live)
        except (session.Interrupted, StorageError, OSError):
            raise  # not this group's fault: nothing else would fare better
        except Exception as error:
            if _out_of_memory(error) and len(place.contents["runs"]) > 1:
                place.split()
                live.say(f"group {place.name}: out of memory; its runs go on in two groups of half the width")
                for part in self._divide():
                    groups.make_place(self.directory, *part)
                return
            text = " ".join(str(error).split()) or type(error).__name__
            text = text if isinstance(error, (RunError, UserError)) else f"{type(error).__name__}: {text}"
            if _out_of_memory(error):
                text = "out of memory with one run alone; take a smaller train.batch_size or evaluation.batch_size"
            details = {"error": text, "traceback": traceback.format_exc(), "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
            writers.write_json(place.directory / "failed.json", details)
            live.say(f"group {place.name} failed: {text}; going on without it")

    def _refit(self) -> None:
        """Trains the arm that validation chose on all of the training set."""
        place, chosen = Place(self.directory / "refit"), results.chosen_arm(self.directory, self.checked, self.arms)
        if not self.checked.selection.refit or chosen is None:
            return
        arm = next(arm for arm in self.arms if arm.name == chosen)
        whole = dataclasses.replace(arm, experiment=self._whole(arm))
        seeds = range(self.checked.first_seed, self.checked.first_seed + self.checked.seeds)
        contents = {
            "arms": [{"name": arm.name, "override": arm.override}],
            "runs": [[0, seed, 0] for seed in seeds],
            "duration": whole.experiment.train.duration,
            "parameters": 0,
            "cost": 0,
        }
        if (place.directory / "group.json").exists() and place.contents != writers.as_json(contents):
            shutil.rmtree(place.directory)  # it was of another arm, seeds or length
            place = Place(place.directory)
        place.directory.mkdir(exist_ok=True)
        writers.write_json(place.directory / "group.json", contents)
        group = self.workshop.group("refit", [self.workshop.prepare(whole, whole=True)], contents["runs"])
        self.console.print(f"validation chose {chosen}: training it on all of the training set", highlight=False)
        if not place.trained:
            with terminal.Live(self.console, "refit", [chosen]) as live:
                session.train_group(
                    group, self.workshop.dataset(group.source), place.directory, self._unselected(), live
                )
        self.refit = group

    def _whole(self, arm: Arm) -> config.Experiment:
        """The arm's experiment without a validation set: it runs for as long as, by median, its chosen epochs were."""
        duration = arm.experiment.train.duration
        if arm.experiment.selection.weights == "best" or arm.experiment.selection.patience:
            epochs = results.epochs_of(self.directory, arm.name)
            duration = f"{np.median(epochs):g} epochs"
        return dataclasses.replace(
            arm.experiment,
            train=dataclasses.replace(arm.experiment.train, duration=duration),
            selection=config.SelectionConfig(),
        )

    def _unselected(self) -> config.Experiment:
        return dataclasses.replace(self.checked, selection=config.SelectionConfig())

    def _test_all(self) -> None:
        """Reads the test set, for the first time, now that nothing is left to train."""
        for place, runs in _untested(self.checked, self.arms, self.directory, self._standing().places):
            group = place.build(self.workshop)
            session.test_group(group, runs, self.workshop.dataset(group.source), place.directory, self.checked)
        place = Place(self.directory / "refit")
        if self.checked.selection.refit and place.trained and not place.tested_runs:
            dataset = self.workshop.dataset(self.refit.source)
            session.test_group(self.refit, range(len(self.refit.runs)), dataset, place.directory, self._unselected())


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    words = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "bad_alloc", "Unable to allocate")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in words)
