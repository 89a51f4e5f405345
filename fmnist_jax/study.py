"""A question as a config -> arms x seeds x folds -> groups, trained and tested -> tables, verdicts and a page."""

import functools
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from fmnist_jax import (
    arms,
    carry,
    config,
    fields,
    groups,
    outcomes,
    places,
    reading,
    references,
    refit,
    results,
    session,
    terminal,
    testing,
    tidy,
    timing,
    workdir,
    writers,
)
from fmnist_jax.arms import Arm
from fmnist_jax.data import load
from fmnist_jax.errors import RunError, StorageError, UserError
from fmnist_jax.groups import Workshop
from fmnist_jax.places import Place
from fmnist_jax.signals import Signals

# These say where to work, what to keep and what to ask, not what a run computes: a workdir may go on under others.
# (Other devices, and streaming, move the last place of vmapped runs; environment.json says which devices there were.)
NOT_IN_A_RUN = (
    *("dataset.data_dir", "platform", "population.devices", "population.memory_gb"),
    "population.stream",
    *("checkpoint.every", "checkpoint.keep", "writers.tensorboard", "writers.page", "writers.statistics"),
    *("question", "metric", "claims", "selection.arm_by", "selection.refit", "evaluation.test"),
    "evaluation.activities",  # measured whenever asked for, of the weights that are there
    *("evaluation.timed_steps", "references", "reference_images"),  # what is measured beside the runs
    *("sweep", "seeds", "first_seed"),  # which runs, not what one is: new ones are added to those that are there
)


def run(checked: config.Experiment, directory: Path, console: Console, retry: bool = False) -> results.Results:
    """Trains what is not done yet in `directory`, tests it, writes its tables and page, and shows the answer.

    Args:
      retry: train again the groups that failed, and try again what was measured beside them.

    Raises:
      UserError: the config does not fit itself, the data, or the workdir.
      RunError: groups failed; the others' results are written and shown before.
      session.Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    if (directory / "paper.json").exists():
        raise UserError(f"workdir {directory} holds a paper, which is no study; choose another with --workdir=DIR")
    study = _Study(checked, arms.arms_of(checked), directory, console)
    results.check_claims(checked, study.arms)
    if not study.finished():
        study.divide()  # refuses what does not fit before there is anything to leave behind
        study.check_references()
    with workdir.lock(directory):
        if study.finished() and not retry:  # perhaps by another process, meanwhile
            workdir.check_same(directory, study.keys)
            results.describe(directory, checked, study.arms)
        else:
            study.complete(retry)
        found = results.write(directory, console)
    if failures := found.study.failures:
        first, more = failures[0], f" (and {len(failures) - 1} more, in failures.json)" if len(failures) > 1 else ""
        share = f"{len(failures)} of {found.study.facts['groups']} groups"
        raise RunError(
            f"{share} failed: {first['group']}: {first['error']}{more}; "
            "--retry (in Python, retry=True) trains them again"
        )
    return found


def check(checked: config.Experiment, directory: Path, console: Console) -> None:
    """Refuses what `run` would refuse, and trains nothing.

    Raises:
      UserError: as `run`.
    """
    study = _Study(checked, arms.arms_of(checked), directory, console)
    results.check_claims(checked, study.arms)
    if workdir.begun(directory):
        workdir.check_same(directory, study.keys)
    if not study.finished():
        study.divide()
        study.check_references()


class _Study:
    """One process's work on a study."""

    def __init__(self, checked: config.Experiment, study_arms: Sequence[Arm], directory: Path, console: Console):
        self.checked, self.arms, self.directory, self.console = checked, study_arms, directory, console
        flat = config.flatten(checked)
        self.keys = {k: v for k, v in flat.items() if k not in NOT_IN_A_RUN and not k.startswith("paper.")}
        self.workshop = Workshop(checked, load)
        self.wanted = {key for _, key in groups.wanted(checked, study_arms)}
        self.standing = places.Standing(directory, self.wanted)
        self._read: tuple = (None, None)  # of which groups, what

    def finished(self) -> bool:
        """Whether there is nothing left to do but to write; then neither the data nor a device is needed."""
        there = self.standing.refresh()
        if not self.wanted <= {key for place in there.places if place.trained for key in place.runs}:
            return False
        if self._untimed() or references.due(self.directory, self.checked, self.arms[0]):
            return False
        return not self._untested() and not self._outcomes_due() and not self._refit_due()

    def divide(self) -> list:
        """The groups that are still to be made."""
        there = self.standing.refresh()
        return groups.divide(self.workshop, self.arms, there.runs, there.limits)

    def check_references(self) -> None:
        """Refuses more images for them than there are, or than memory holds."""
        references.check(self.checked, self.arms[0], self.workshop)

    def complete(self, retry: bool) -> None:
        """Trains every group; then, with nothing left to train, tests; then times arms alone and fits references."""
        workdir.claim(self.directory, self.keys, self.workshop.fingerprints())
        self.standing = places.Standing(self.directory, self.wanted)  # groups of a corrected config are gone
        new = self.divide()
        writers.write_json(self.directory / "environment.json", workdir.environment())
        results.describe(self.directory, self.checked, self.arms)
        self._describe_data()
        for part in new:
            places.make(self.directory, *part)
        if retry:
            for place in [*self.standing.refresh().places, refit.place(self.directory)]:
                (place.directory / "failed.json").unlink(missing_ok=True)
            timing.forget_failures(self.directory)
            references.forget_failures(self.directory)
        self._train_all()
        if (failed := [p for p in self.standing.places if p.failure]) and self._choosing():
            self.console.print(
                f"{len(failed)} groups failed: no arm is chosen, refitted or tested before --retry", highlight=False
            )
            return
        self._refit()
        self._test_all()
        self._keep_outcomes()
        self._time_alone()
        self._fit_references()

    def _choosing(self) -> bool:
        return self.checked.selection.refit or self.checked.evaluation.test == "chosen"

    def _describe_data(self) -> None:
        if any(self.workshop.dataset(arm.experiment.dataset).synthetic for arm in self.arms):
            self.console.print("[bold]SYNTHETIC DATA[/bold]: drawn garments, not a real data set")
        if self.checked.population.stream == "auto":
            for words in self.workshop.streamed(arm.experiment.dataset for arm in self.arms):
                self.console.print(words, highlight=False, soft_wrap=True)
        source = self.arms[0].experiment.dataset
        dataset, split = self.workshop.dataset(source), self.workshop.split(source)
        sizes = {"train_size": int(split.train_size.min()), "validation_size": int(split.validation_size.min())}
        writers.write_json(self.directory / "dataset.json", {"class_names": dataset.class_names, **sizes})

    def _live(self) -> terminal.Live:
        return terminal.Live(self.console, self.directory.name, [arm.name for arm in self.arms])

    def _train_all(self) -> None:
        with self._live() as live:
            while waiting := carry.in_turn(self.standing.refresh().waiting, self.checked):
                for place in self.standing.places:
                    if place.trained:
                        live.called(self._called(place))
                        live.add_finished(place.name, functools.partial(_results, place))
                there = len(self.standing.places)
                live.of_study(there - len(waiting), there, *self.standing.shares(waiting))
                live.called(self._called(waiting[0]))
                self._train(waiting[0], live)

    def _called(self, place: Place) -> dict[str, str]:
        """What an arm is called in the rows of a group -> what it is called now."""
        now = {arms.identity(arm.override): arm.name for arm in self.arms}
        return {arm["name"]: now.get(arms.identity(arms.override_of(arm))) for arm in place.contents["arms"]}

    def _train(self, place: Place, live: terminal.Live) -> None:
        """One group. Out of memory, its runs go to groups of half its width."""
        with _Attempt() as attempt:
            group = carry.prepared(place, place.build(self.workshop), self.standing.places, self.workshop)
            session.train_group(group, self.workshop.dataset(group.source), place.directory, self.checked, live)
        if attempt.out_of_memory and len(place.contents["runs"]) > 1:
            place.split()
            live.say(f"group {place.name}: out of memory; its runs go on in two groups of half the width")
            for part in self.divide():
                places.make(self.directory, *part)
        elif attempt.failure:
            place.fail(attempt.failure)
            live.say(f"group {place.name} failed: {attempt.failure['error']}; going on without it")

    def _so_far(self) -> tidy.Study:
        """The results of the groups that are trained, read anew when there are more: tens of thousands take seconds."""
        trained = [place.directory / "done.json" for place in self.standing.places if place.trained]
        of = [(path, path.stat().st_mtime_ns) for path in trained]
        if self._read[0] != of:
            about = results.description(self.directory.name, self.checked, self.arms)
            self._read = of, reading.read(self.directory, about)
        return self._read[1]

    def _chosen(self) -> Arm | None:
        """The arm that validation chose."""
        name = tidy.best_arm(self._so_far().runs, self.checked.selection.arm_by, [arm.name for arm in self.arms])
        return next((arm for arm in self.arms if arm.name == name), None)

    def _refit_due(self) -> bool:
        if not self.checked.selection.refit or refit.place(self.directory).failure or not (chosen := self._chosen()):
            return False
        return not refit.done(self.directory, self._refit_contents(chosen))

    def _refit_contents(self, chosen: Arm) -> dict:
        runs = self._so_far().runs
        return refit.contents(self.checked, chosen, runs.loc[runs["arm"] == chosen.name, "epoch"].to_numpy())

    def _refit(self) -> None:
        """Trains the arm that validation chose on all of the training set."""
        if not self._refit_due():
            return
        chosen = self._chosen()
        contents = self._refit_contents(chosen)
        place = refit.make_place(self.directory, contents)
        self.console.print(
            f"validation chose {chosen.name}: training it on all of the training set", highlight=False, soft_wrap=True
        )
        if not place.trained:
            with _Attempt() as attempt, self._live() as live:
                group = refit.group(self.workshop, chosen, contents)
                dataset = self.workshop.dataset(group.source)
                session.train_group(group, dataset, place.directory, refit.settings(self.checked), live)
            place.fail(attempt.failure)

    def _untested(self) -> list[tuple[Place, list[int]]]:
        """(group, runs) that have still to read the test set, now or when they are trained."""
        wanted = self.wanted
        if self.checked.evaluation.test == "none":
            return []
        if self.checked.evaluation.test == "chosen":
            chosen = self._chosen()
            wanted = {key for key in wanted if chosen and key.arm == arms.identity(chosen.override)}
        untested = []
        for place in self.standing.places:
            runs = {i for i, key in enumerate(place.runs) if key in wanted}
            correlated = self.checked.evaluation.activities in (0, place.activities) or not runs
            if place.trained and not place.failure and not (runs <= place.tested_runs and correlated):
                untested.append((place, sorted(runs | place.tested_runs)))
        return untested

    def _test_all(self) -> None:
        """Reads the test set, for the first time, now that nothing is left to train."""
        for place, runs in self._untested():
            try:
                self._test(place, runs)
            except testing.Outdated as gone:
                self.console.print(f"{gone}: training goes on from an older one", highlight=False, soft_wrap=True)
                (place.directory / "done.json").unlink()
                self._train_all()
                self._test(place, runs)
        place = refit.place(self.directory)
        if self.checked.selection.refit and place.trained and not place.tested_runs and not place.failure:
            chosen = self._chosen()
            with _Attempt() as attempt:
                group = refit.group(self.workshop, chosen, self._refit_contents(chosen))
                dataset = self.workshop.dataset(group.source)
                runs = range(len(group.runs))
                testing.measure_group(group, runs, dataset, place.directory, refit.settings(self.checked))
            place.fail(attempt.failure)

    def _test(self, place: Place, runs: list[int]) -> None:
        """One group; out of memory, its runs in parts of half the width."""
        width = 2 * len(runs)
        while width > 1:
            width = (width + 1) // 2
            with _Attempt() as attempt:
                group = place.build(self.workshop)
                dataset = self.workshop.dataset(group.source)
                testing.measure_group(group, runs, dataset, place.directory, self.checked, width)
            if not attempt.out_of_memory:
                break
        place.fail(attempt.failure)

    def _pictured(self) -> tuple[Arm, dict]:
        """The arm whose mistakes are shown, and which of its runs there are to show."""
        arm = self._chosen() or self.arms[0]
        seeds = [self.checked.first_seed, self.checked.first_seed + self.checked.seeds]
        return arm, {"arm": arms.identity(arm.override), "seeds": seeds}

    def _outcomes_due(self) -> bool:
        arm, of = self._pictured()
        kept = self.directory / "outcomes.json"
        tested = places.tested(self.directory, arm.override)
        return bool(tested) and (not kept.exists() or writers.read_json(kept)["of"] != of)

    def _keep_outcomes(self) -> None:
        if not self._outcomes_due():
            return
        arm, of = self._pictured()
        found = [outcomes.of_arm(place, name)[0] for place, name in places.tested(self.directory, arm.override)]
        own = {run: p for part in found for run, p in part.items() if of["seeds"][0] <= run[0] < of["seeds"][1]}
        dataset = self.workshop.dataset(arm.experiment.dataset)
        outcomes.write(self.directory, dataset, np.stack([own[run] for run in sorted(own)]), of)

    def _untimed(self) -> list[tuple[Arm, int]]:
        """(arm, seed) that have still to be timed alone, of the arms that could be trained."""
        there = {key.arm for place in self.standing.places if place.trained and not place.failure for key in place.runs}
        trained = [
            arm
            for arm in self.arms
            if arms.identity(arm.override) in there and not fields.untrained(arm.experiment.train.duration)
        ]
        return timing.due(self.directory, self.checked, trained)

    def _time_alone(self) -> None:
        """Nothing runs beside it any more."""
        if not self._untimed():
            return
        bench = timing.Bench(self.directory, self.checked, self.workshop)
        untimed = self._untimed()  # perhaps more: none of another machine counts
        with self._live() as live, Signals() as signals:
            for i, (arm, seed) in enumerate(untimed):
                live.note(f"timing arms alone: {i}/{len(untimed)}")
                with _Attempt() as attempt:
                    bench.time(arm, seed)
                if attempt.failure:
                    bench.note(arm, seed, float("nan"))
                    live.say(f"{arm.name}, seed {seed}: not timed: {attempt.failure['error']}")
                if signals.received:
                    raise session.Interrupted(signals.received)

    def _fit_references(self) -> None:
        """A fit that is interrupted is lost; those before it are kept."""
        first = self.arms[0]
        if not (due := references.due(self.directory, self.checked, first)):
            return
        bench = references.Bench(self.directory, self.checked, first, self.workshop)
        for i, (name, seed) in enumerate(due, 1):
            called = name.replace("_", " ") + ("" if seed is None else f", seed {seed}")
            self.console.print(
                f"reference {i}/{len(due)}: {called}, on {bench.images:,} images", highlight=False, soft_wrap=True
            )
            with _Attempt() as attempt:
                bench.fit(name, seed)
            if attempt.failure:
                error = attempt.failure["error"]
                error = "out of memory; take fewer reference_images" if attempt.out_of_memory else error
                bench.note(name, seed, error=error)
                self.console.print(f"not fitted: {error}", markup=False, highlight=False, soft_wrap=True)


def _results(place: Place) -> list[dict]:
    return session.read_group(place.directory)["results"]


class _Attempt:
    """What goes wrong inside is kept, as the group's failure, unless nothing else would fare better."""

    def __init__(self):
        self.failure: dict | None = None
        self.out_of_memory = False

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> bool:
        passed_on = (session.Interrupted, testing.Outdated, StorageError, OSError)
        if not isinstance(error, Exception) or isinstance(error, passed_on):
            return False
        self.out_of_memory = _out_of_memory(error)
        text = " ".join(str(error).split()) or type(error).__name__
        text = text if isinstance(error, (RunError, UserError)) else f"{type(error).__name__}: {text}"
        if self.out_of_memory:
            text = "out of memory with one run alone; take a smaller train.batch_size or evaluation.batch_size"
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self.failure = {"error": text, "traceback": "".join(traceback.format_exception(error)), "at": at}
        return True


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    words = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "bad_alloc", "Unable to allocate")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in words)
