"""A question as a config -> arms x seeds x folds -> groups, trained and tested -> tables, verdicts and a page."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from fmnist_jax import (
    arms,
    carry,
    config,
    fields,
    groups,
    hosts,
    leases,
    memory,
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
from fmnist_jax.attempt import Attempt
from fmnist_jax.data import load
from fmnist_jax.errors import RunError, UserError
from fmnist_jax.groups import Workshop
from fmnist_jax.hosts import Hosts
from fmnist_jax.places import Place
from fmnist_jax.share import ALONE, Share
from fmnist_jax.signals import listen
from fmnist_jax.store import Disk
from fmnist_jax.together import Team

# These say where to work, what to keep and what to ask, not what a run computes: a workdir may go on under others.
# (Other devices, and streaming, move the last place of vmapped runs: SAID are said when they change, and kept.)
NOT_IN_A_RUN = (
    *("dataset.data_dir", "platform", "population.devices", "population.most_runs", "population.memory_gb"),
    "population.stream",
    *("checkpoint.every", "checkpoint.keep", "writers.tensorboard", "writers.page", "writers.statistics"),
    *("question", "metric", "claims", "selection.arm_by", "selection.refit", "evaluation.test"),
    "evaluation.activities",  # measured whenever asked for, of the weights that are there
    *("evaluation.timed_steps", "references", "reference_images"),  # what is measured beside the runs
    *("sweep", "seeds", "first_seed"),  # which runs, not what one is: new ones are added to those that are there
)


SAID = ("platform", "population.devices", "population.stream")

POLL_SECONDS = 2.0  # between two looks at what other processes have left


def run(
    checked: config.Experiment,
    place: Path | Disk,
    console: Console,
    retry: bool = False,
    share: Share = ALONE,
    hosts: Hosts = hosts.ALONE,
    allow_change: bool = False,
) -> results.Results | None:
    """Trains what is not done yet in a workdir, tests it, writes its tables and page, and shows the answer.

    Args:
      place: the workdir, or where it is if that is no directory of this machine.
      retry: train again the groups that failed, and try again what was measured beside them.
      share: which groups are this process's to train. Who claims them shares their tests alike, when all are trained;
        the process that finds nothing left of that does the rest.
      hosts: which train every group together; those that do not lead return None.
      allow_change: of what moves no more than last bits, in a study that has begun (workdir.ROUNDING).

    Raises:
      UserError: the config does not fit itself, the data, or the workdir.
      RunError: groups failed; the others' results are written and shown before.
      Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    store = place if isinstance(place, Disk) else Disk(place)
    directory = store.directory
    if (directory / "paper.json").exists():
        raise UserError(f"workdir {directory} holds a paper, which is no study; choose another with --workdir=DIR")
    study = _Study(checked, arms.arms_of(checked), store, console, share, hosts, allow_change)
    results.check_claims(checked, study.arms)
    study.team.compare()
    if not hosts.leads:
        return study.team.follow()
    try:
        found = study.lead(retry)
    finally:
        hosts.tell()  # that this is all, however it ended
    if failures := found.study.failures:
        first, more = failures[0], f" (and {len(failures) - 1} more, in failures.json)" if len(failures) > 1 else ""
        share = f"{len(failures)} of {found.study.facts['groups']} groups"
        raise RunError(
            f"{share} failed: {first['group']}: {first['error']}{more}; "
            "--retry (in Python, retry=True) trains them again"
        )
    return found


def check(checked: config.Experiment, directory: Path, console: Console, allow_change: bool = False) -> None:
    """Refuses what `run` would refuse, and trains nothing.

    Raises:
      UserError: as `run`.
    """
    study = _Study(checked, arms.arms_of(checked), Disk(directory), console)
    results.check_claims(checked, study.arms)
    if workdir.begun(directory):
        workdir.check_same(directory, study.keys, allow_change)
    if not study.finished():
        study.divide()
        study.check_references()


class _Study:
    """One process's work on a study."""

    def __init__(
        self,
        checked: config.Experiment,
        study_arms: Sequence[Arm],
        store: Disk,
        console: Console,
        share: Share = ALONE,
        hosts: Hosts = hosts.ALONE,
        allow_change: bool = False,
    ):
        self.checked, self.arms, self.console = checked, study_arms, console
        self.store, self.directory, self.watch = store, store.directory, store.watch()
        self.share, self.allow_change = share, allow_change
        flat = config.flatten(checked)
        self.keys = {k: v for k, v in flat.items() if k not in NOT_IN_A_RUN and not k.startswith("paper.")}
        self.workshop = Workshop(checked, load)
        self.team = Team(checked, study_arms, store, self.workshop, hosts)
        self.wanted = {key for _, key in groups.wanted(checked, study_arms)}
        self.standing = places.Standing(self.directory, self.wanted)
        self._read: tuple = (None, None)  # of which groups, what
        self._trained_here: set[str] = set()  # names of groups

    def lead(self, retry: bool) -> results.Results:
        """All of a study that is not there yet, and its results."""
        if not self.finished():
            self.divide()  # refuses what does not fit before there is anything to leave behind
            self.check_references()
        with self.store.lock(not self.share.alone):
            self.team.gather()
            with self.store.turn():
                if finished := self.finished() and not retry:  # perhaps by another process, meanwhile
                    workdir.check_same(self.directory, self.keys, self.allow_change)
                    results.describe(self.directory, self.checked, self.arms)
            if not finished:
                self.complete(retry)
            with self.store.turn():
                whole = self.all_trained()
                found = results.write(self.directory, self.console if whole else Console(quiet=True))
                if not whole:
                    self.say_what_is_missing()
        return found

    def finished(self) -> bool:
        """Whether there is nothing left to do but to write; then neither the data nor a device is needed."""
        if not self.all_trained():
            return False
        if self._untimed() or references.due(self.directory, self.checked, self.arms[0]):
            return False
        return not self._untested() and not self._outcomes_due() and not self._refit_due()

    def all_trained(self) -> bool:
        """Whether every run of the study is at its end."""
        self.store.look()
        if any(not place.trained and place.most is None for place in self.standing.waiting):
            return False  # without asking for all the others
        there = self.standing.refresh()
        return self.wanted <= {key for place in there.places if place.name in there.trained for key in place.runs}

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """What makes an arm itself -> what it is called."""
        return {arms.identity(arm.override): arm.name for arm in self.arms}

    @functools.cached_property
    def own(self) -> set[groups.RunKey] | None:
        """The runs of this process's shard; None where there are no shards."""
        return groups.of_shard(self.share.shard, self.workshop, self.arms) if self.share.shard else None

    def say_what_is_missing(self) -> None:
        """What of the study is there, where it is not all."""
        trained = {key for place in self.standing.places if place.trained for key in place.runs} & self.wanted
        self._say(
            f"{len(trained)} of {len(self.wanted)} runs are trained; tables and page are of those "
            "(python -m fmnist_jax.report joins the workdirs of shards)"
        )

    def divide(self) -> list:
        """The groups that are still to be made."""
        self.standing.renew()
        there = self.standing
        return groups.divide(self.workshop, self.arms, there.runs, there.limits, self.own)

    def check_references(self) -> None:
        """Refuses more images for them than there are, or than memory holds."""
        references.check(self.checked, self.arms[0], self.workshop)

    def complete(self, retry: bool) -> None:
        """Trains every group; then, with nothing left to train, tests; then times arms alone and fits references."""
        with self.store.turn():
            self._begin(retry)
        self._train_all()
        if self.share.claim and self.checked.evaluation.test == "all":
            while not self._test_shared():
                self._train_all()
        with self.store.turn():
            left = self.standing.refresh().waiting or self.wanted - self.standing.runs
            if self.share.alone or not left:
                self._conclude()
            elif self.checked.evaluation.test == "all":
                self._test_all()  # what is there; whoever concludes may not have its weights

    def _begin(self, retry: bool) -> None:
        """Makes the groups that are not there."""
        prints, shared = self.workshop.fingerprints(), not self.share.alone
        changed = workdir.claim(self.directory, self.keys, prints, shared, self.allow_change)
        self.standing.renew()  # groups of a corrected config are gone
        new = self.divide() if self.wanted - self.standing.runs else []  # one process at a time is here: be quick
        asked = {key: value for key, value in config.flatten(self.checked).items() if key in SAID}
        for change in [*changed, *workdir.keep_environment(self.directory, asked)]:
            self._say(f"not as before: {change}")
        results.describe(self.directory, self.checked, self.arms)
        self._describe_data()
        if new:
            places.make(self.directory, new)
        if retry:
            for place in [*self.standing.refresh().places, refit.place(self.directory)]:
                (place.directory / "failed.json").unlink(missing_ok=True)
            timing.forget_failures(self.directory)
            references.forget_failures(self.directory)

    def _conclude(self) -> None:
        """What is left when all is trained."""
        if failed := self._in_the_way():
            self._say(f"{failed} groups failed: no arm is chosen, refitted or tested before --retry")
            return
        self._refit()
        self._test_all()
        self._keep_outcomes()
        self._time_alone()
        self._fit_references()

    def _in_the_way(self) -> int:
        """How many groups failed, where an arm is to be chosen of all."""
        if not self.checked.selection.refit and self.checked.evaluation.test != "chosen":
            return 0
        return sum("failed.json" in self.standing.files[place.name] for place in self.standing.places)

    def _describe_data(self) -> None:
        if any(self.workshop.dataset(arm.experiment.dataset).synthetic for arm in self.arms):
            self.console.print("[bold]SYNTHETIC DATA[/bold]: drawn garments, not a real data set")
        if self.checked.population.stream == "auto":
            for words in self.workshop.streamed(arm.experiment.dataset for arm in self.arms):
                self._say(words)
        source = self.arms[0].experiment.dataset
        dataset, split = self.workshop.dataset(source), self.workshop.split(source)
        sizes = {"train_size": int(split.train_size.min()), "validation_size": int(split.validation_size.min())}
        writers.write_json(self.directory / "dataset.json", {"class_names": dataset.class_names, **sizes})

    def _say(self, text: str) -> None:
        terminal.say(self.console, text)

    def _live(self) -> terminal.Live:
        return terminal.Live(self.console, self.directory.name, [arm.name for arm in self.arms])

    def _train_all(self, of_all_shards: bool = False) -> None:
        results.import_meanwhile(self.checked.writers.page)
        told: set[str] = set()  # groups whose results the line knows
        with self._live() as live:
            while waiting := carry.in_turn(self._waiting(of_all_shards), self.checked):
                new = self.standing.trained - told
                for place in (place for place in self.standing.places if place.name in new):
                    live.called(self._called(place))
                    live.add(_results(place))
                told |= new
                if self.share.alone:
                    self._follow(waiting[0], waiting, live)
                    self._train(waiting[0], live)
                elif taken := self._take(carry.ready(waiting, self.checked), places.waits):
                    place, claim = taken
                    with self._claimed(place, claim):
                        self._follow(place, waiting, live)
                        self._train(place, live, claim.check)
                        self._trained_here.add(place.name)
                else:
                    self._wait(len(waiting), live)

    def _waiting(self, of_all_shards: bool) -> list[Place]:
        """The groups that this process may have to train."""
        self.store.look()
        waiting = self.standing.look()
        everyones = of_all_shards or self.own is None
        return [place for place in waiting if everyones or place.runs[0] in self.own]

    def _take(self, waiting: Sequence[Place], due: Callable[[Place], object]) -> tuple[Place, leases.Claim] | None:
        """The first of these that nobody else has; `due`: whether it still is, and was not done a moment ago."""
        for place in waiting:
            if claim := self.watch.take(place.directory):
                self.store.fetch(place.directory)
                if due(place):
                    return place, claim
                claim.close()
        return None

    @contextlib.contextmanager
    def _claimed(self, place: Place, claim: leases.Claim) -> Iterator[None]:
        """Within it a group is this process's, until another has taken it over."""
        working = self.store.working(place.directory, claim)
        with contextlib.closing(claim), contextlib.suppress(leases.Lost), working:
            yield

    def _wait(self, groups_left: int, live: terminal.Live) -> None:
        """For other processes."""
        live.note(f"{self.directory.name}: other processes have the {groups_left} groups that are left")
        with listen():
            time.sleep(POLL_SECONDS)

    def _follow(self, place: Place, waiting: Sequence[Place], live: terminal.Live) -> None:
        there = len(self.standing.places)
        live.of_study(there - len(waiting), there, *self.standing.shares(place, waiting))
        live.called(self._called(place))

    def _called(self, place: Place) -> dict[str, str]:
        """What an arm is called in the rows of a group -> what it is called now."""
        return {arm["name"]: self.names.get(arms.identity(arms.override_of(arm))) for arm in place.contents["arms"]}

    def _train(self, place: Place, live: terminal.Live, still_ours: Callable[[], None] = lambda: None) -> None:
        """One group. Out of memory, its runs go to groups of half its width."""
        with Attempt() as attempt:
            self.team.do({"train": place.name}, live, still_ours, self.standing.places)
        if attempt.out_of_memory and len(place.contents["runs"]) > 1:
            live.say(f"group {place.name}: out of memory; its runs go on in two groups of half the width")
            with self.store.turn():
                place.split()
                self.standing.refresh()
                places.make(self.directory, self.divide())
        elif attempt.failure:
            place.fail(attempt.failure)
            live.say(f"group {place.name} failed: {attempt.failure['error']}; going on without it")
        memory.release()

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
        self._say(f"validation chose {chosen.name}: training it on all of the training set")
        if not place.trained:
            with Attempt() as attempt, self._live() as live:
                self.team.do({"refit": chosen.name}, live)
            place.fail(attempt.failure)

    def _untested(self) -> list[tuple[Place, list[int]]]:
        """(group, runs) that have still to read the test set, now or when they are trained."""
        wanted = self.wanted
        if self.checked.evaluation.test == "none":
            return []
        if self.checked.evaluation.test == "chosen":
            chosen = self._chosen()
            wanted = {key for key in wanted if chosen and key.arm == arms.identity(chosen.override)}
        due = ((place, self._to_test(place, self.standing.files[place.name], wanted)) for place in self.standing.places)
        return [(place, runs) for place, runs in due if runs]

    def _to_test(self, place: Place, files: Sequence[str], wanted: set[groups.RunKey]) -> list[int]:
        """The runs of a group that read the test set, again with those that have not yet; `files`: what is there."""
        runs = {i for i, key in enumerate(place.runs) if key in wanted}
        if not runs or "done.json" not in files or "failed.json" in files:
            return []
        tested, activities = place.tested if "test.json" in files else (set(), 0)
        done = runs <= tested and self.checked.evaluation.activities in (0, activities)
        return [] if done else sorted(runs | tested)

    def _test_shared(self) -> bool:
        """Reads the test set with all who share the study, each group by one; whether nothing has to be trained again.

        Everyone begins with what it has trained itself, whose programs and files it has at hand.
        """
        self.store.look()
        if (there := self.standing.refresh()).waiting:
            return False
        if self.wanted - there.runs or self._in_the_way():
            return True  # whoever concludes says so
        left = sorted((place for place, _ in self._untested()), key=lambda place: place.name not in self._trained_here)
        with self._live() as live:
            while left:
                others = []
                for place in left:
                    files = place.names()
                    if self._to_test(place, files, self.wanted):
                        others += [] if self._test_claimed(place) else [place]
                        files = place.names()
                    if "done.json" not in files:
                        return False  # its last checkpoint was damaged
                if left := others:
                    self._wait(len(left), live)
                    self.store.look()
        return True

    def _test_claimed(self, place: Place) -> bool:
        """Tests a group, unless another process has it, or has it before that is done; whether it was this one's."""
        if not (taken := self._take([place], lambda place: self._to_test(place, place.names(), self.wanted))):
            return False
        with self._claimed(*taken):
            try:
                self._test(place, self._to_test(place, place.names(), self.wanted), taken[1].check)
            except testing.Outdated as gone:
                self._take_back(place, gone)
            return True
        return False  # `_claimed` has kept to itself that it was taken over

    def _test_all(self) -> None:
        """Reads the test set, for the first time, now that nothing is left to train."""
        for place, runs in self._untested():
            self.store.fetch(place.directory)
            try:
                self._test(place, runs)
            except testing.Outdated as gone:
                self._take_back(place, gone)
                self._train_all(of_all_shards=True)
                self._test(place, runs)
        place = refit.place(self.directory)
        if self.checked.selection.refit and place.trained and not place.tested[0] and not place.failure:
            try:
                self._test_refit(place)
            except testing.Outdated as gone:
                self._take_back(place, gone)
                self._refit()
                self._test_refit(place)

    def _take_back(self, place: Place, gone: testing.Outdated) -> None:
        """A group whose last checkpoint is not whole is not trained."""
        self._say(f"{gone}: training goes on from an older one")
        (place.directory / "done.json").unlink()
        self.standing.refresh()
        self.store.keep()

    def _test_refit(self, place: Place) -> None:
        chosen = self._chosen()
        with Attempt() as attempt:
            group = refit.group(self.workshop, chosen, self._refit_contents(chosen))
            dataset = self.workshop.dataset(group.source)
            runs = range(len(group.runs))
            testing.measure_group(group, runs, dataset, place.directory, refit.settings(self.checked))
        place.fail(attempt.failure)

    def _test(self, place: Place, runs: list[int], still_ours: Callable[[], None] = lambda: None) -> None:
        """One group; out of memory, its runs in parts of half the width."""
        width, together = 2 * len(runs), len(runs) == len(place.runs) and not self.checked.evaluation.activities
        while width > 1:
            width = (width + 1) // 2
            with Attempt() as attempt:
                if together:
                    self.team.do({"test": place.name, "width": width}, still_ours=still_ours)
                else:  # few runs, or what one host measures of all of them
                    group = place.build(self.workshop)
                    dataset = self.workshop.dataset(group.source)
                    testing.measure_group(
                        group, runs, dataset, place.directory, self.checked, width, still_ours=still_ours
                    )
            memory.release()
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
        with self._live() as live, listen() as heard:
            for i, (arm, seed) in enumerate(untimed):
                live.note(f"timing arms alone: {i}/{len(untimed)}")
                with heard.held(), Attempt() as attempt:
                    bench.time(arm, seed)
                if attempt.failure:
                    bench.note(arm, seed, float("nan"))
                    live.say(f"{arm.name}, seed {seed}: not timed: {attempt.failure['error']}")

    def _fit_references(self) -> None:
        """A fit that is interrupted is lost; those before it are kept."""
        first = self.arms[0]
        if not (due := references.due(self.directory, self.checked, first)):
            return
        bench = references.Bench(self.directory, self.checked, first, self.workshop)
        for i, (name, seed) in enumerate(due, 1):
            called = name.replace("_", " ") + ("" if seed is None else f", seed {seed}")
            self._say(f"reference {i}/{len(due)}: {called}, on {bench.images:,} images")
            with Attempt() as attempt:
                bench.fit(name, seed)
            if attempt.failure:
                error = attempt.failure["error"]
                error = "out of memory; take fewer reference_images" if attempt.out_of_memory else error
                bench.note(name, seed, error=error)
                self._say(f"not fitted: {error}")


def _results(place: Place) -> list[dict]:
    return session.read_group(place.directory)["results"]
