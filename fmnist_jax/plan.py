"""What a study will take, measured: each group's program is compiled and timed for a moment on its own data.

Nothing is trained or written. What is compiled stays in the compilation cache, where the study finds it.
"""

import dataclasses
import resource
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from fmnist_jax import (
    arms,
    config,
    groups,
    memory,
    paper,
    places,
    population,
    programs,
    references,
    results,
    sharding,
    timing,
    train,
)
from fmnist_jax.terminal import duration

MEASURE_SECONDS = 1.0  # of a group's steps
DISPATCH_SECONDS = 0.3
MAPPED_RUNS = 8  # mapped runs take their time in turn: as many stand for more
PER_STUDY_SECONDS = 8.0  # interpreter and imports before the first group, tables and page after the last
PER_GROUP_SECONDS = 0.5  # its data to the devices, its last checkpoint, its test


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What one group will take."""

    arms: int
    runs: int
    mode: str
    parameters: int
    steps: int
    compile_seconds: float  # now; the study finds the programs in the cache
    seconds: float  # from start to end, the cache warm
    bytes: int  # the process's peak
    alone_seconds: float = 0.0  # timing its arms alone, after all training


def show_paper(checked: config.Experiment, directory: Path, console: Console) -> None:
    """`show` of every part of a paper, and the time they take together.

    Raises:
      UserError: as the study itself would.
    """
    total = 0.0
    for name, part in paper.check(checked, directory, console).items():
        console.print(f"\n[bold]part {name}[/bold]", highlight=False)
        total += seconds(part, show(part, directory / name, console))
    console.print(f"\nall parts together about {duration(total)}", highlight=False)


def seconds(checked: config.Experiment, estimates: list[Estimate]) -> float:
    """From start to end of a study."""
    if not estimates:
        return 0.0
    return PER_STUDY_SECONDS + sum(e.seconds + e.alone_seconds for e in estimates) + _again(checked, estimates)


def _again(checked: config.Experiment, estimates: list[Estimate]) -> float:
    """What a refit takes: as the slowest group."""
    return max(e.seconds / e.runs for e in estimates) * checked.seeds if checked.selection.refit else 0.0


def show(checked: config.Experiment, directory: Path, console: Console) -> list[Estimate]:
    """Prints and returns the estimate of every group that is still to be trained in `directory`.

    Raises:
      UserError: as the study itself would.
    """
    study_arms = arms.arms_of(checked)
    results.check_claims(checked, study_arms)
    workshop = groups.Workshop(checked)
    wanted = groups.wanted(checked, study_arms)
    there = places.Standing(directory, {key for _, key in wanted})
    parts = groups.divide(workshop, study_arms, there.runs, there.limits)
    references.check(checked, study_arms[0], workshop)
    made = [place.build(workshop) for place in there.waiting]
    done = [place.step for place in there.waiting] + [0] * len(parts)
    made += [workshop.group(str(i), *part) for i, part in enumerate(parts, len(there.places))]
    console.print(
        f"{len(study_arms)} arms x {checked.seeds} seeds x {checked.folds} folds: {len(wanted)} runs; "
        f"{sum(len(g.runs) for g in made)} to train, in {len(made)} groups",
        highlight=False,
    )
    for words in workshop.streamed(group.source for group in made):
        console.print(words, highlight=False, soft_wrap=True)
    with console.status("compiling and timing"):
        estimates = [estimate(group, workshop, checked, step) for group, step in zip(made, done, strict=True)]
    if estimates:
        console.print(_table(made, estimates))
        again, total = _again(checked, estimates), seconds(checked, estimates)
        compiled = sum(e.compile_seconds for e in estimates)
        most = "at most " if checked.selection.patience else ""
        alone = sum(e.alone_seconds for e in estimates)
        parts_of_it = [(again, "the refit"), (alone, "timing arms alone")]
        of_it = "".join(f", {duration(took)} of it for {what}" for took, what in parts_of_it if took)
        console.print(
            f"time {most}about {duration(total)}{of_it}, on this machine with nothing else to do; "
            f"compiling took {duration(compiled)} now, and is kept for the study",
            highlight=False,
            soft_wrap=True,
        )
        if fits := references.due(directory, checked, study_arms[0]):
            console.print(f"not counted: {len(fits)} fits of reference arms", highlight=False)
        limit = memory.limit(checked.population.memory_gb)
        console.print(
            f"memory about {max(e.bytes for e in estimates) / 1e9:.1f} GB; a group is cut at {limit / 1e9:.1f} GB",
            highlight=False,
        )
    return estimates


def estimate(group: programs.Group, workshop: groups.Workshop, checked: config.Experiment, done: int = 0) -> Estimate:
    """Compiles a group's programs and times some steps and an evaluation of them; `done` steps are behind it."""
    static, dataset = group.static, workshop.dataset(group.source)
    mode = population.choose_mode(checked.population.mode, static)
    devices = len(sharding.devices_for(len(group.runs), checked.population.devices))
    width = len(group.runs) if mode == "vmap" else min(len(group.runs), max(1, MAPPED_RUNS // devices) * devices)
    part = dataclasses.replace(
        group, runs=group.runs[:width], hyper=jax.tree.map(lambda leaf: leaf[:width], group.hyper)
    )
    population.forget_programs()
    cold = _Trial(part, dataset, checked)
    population.forget_programs()  # what the study will do: trace, and find the program in the cache
    warm = _Trial(part, dataset, checked)
    step, look = warm.time_step(), warm.time_evaluation()
    scale = len(group.runs) / width
    shared = devices if jax.default_backend() == "cpu" else width  # an accelerator takes as long for a run as for many
    timed = timing.estimate(len({(run.arm, run.seed) for run in group.runs}), checked, step * shared / width)
    evaluations = max(1, -(-(static.total_steps - done) // static.eval_every))
    images = evaluations * group.split.validation.shape[1]
    images += len(dataset.test_labels) if checked.evaluation.test == "all" else 0
    seconds = warm.compile_seconds + PER_GROUP_SECONDS
    seconds += scale * ((static.total_steps - done) * step + images * look)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak += (len(group.runs) - width) * memory.of_run(static, _first(group.hyper))
    return Estimate(
        arms=len({run.arm for run in group.runs}),
        runs=len(group.runs),
        mode=mode + "ped",
        parameters=train.param_count(static, _first(group.hyper)),
        steps=static.total_steps,
        compile_seconds=cold.compile_seconds,
        seconds=seconds,
        bytes=peak,
        alone_seconds=timed + cold.compile_seconds if timed else 0.0,
    )


class _Trial:
    """A first step and evaluation of a group, which compile; then more of them, timed. All thrown away."""

    def __init__(self, group: programs.Group, dataset, checked: config.Experiment):
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


def _first(hyper):
    return jax.tree.map(lambda leaf: leaf[0], hyper)


def _table(made: list[programs.Group], estimates: list[Estimate]) -> Table:
    table = Table(
        title="groups, in order", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for heading in ("", "arms", "runs", "", "parameters", "steps", "compile", "time", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group, one in zip(made, estimates, strict=True):
        table.add_row(
            group.name,
            *(f"{n:,}" for n in (one.arms, one.runs)),
            one.mode,
            *(f"{n:,}" for n in (one.parameters, one.steps)),
            duration(one.compile_seconds),
            duration(one.seconds),
            f"{one.bytes / 1e9:.1f} GB",
        )
    return table
