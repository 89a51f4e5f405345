"""What a study will take, measured: each group's program is compiled and timed for a moment on its own data.

Nothing is trained or written. What is compiled stays in the compilation cache, where the study finds it.
"""

import dataclasses
import resource
from pathlib import Path

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from fmnist_jax import (
    arms,
    config,
    forms,
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
    trial,
)
from fmnist_jax.terminal import duration, say

PER_STUDY_SECONDS = 8.0  # interpreter and imports before the first group, tables and page after the last
PER_GROUP_SECONDS = 0.5  # its data to the devices, its last checkpoint, its test
REPORT_BYTES = 100 * 10**6  # pandas and the page, at a study's end, when the groups' arrays are gone


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
    results.import_late(checked.writers.page)  # as a study has while it trains: it counts in the peak of memory
    workshop, made, done = to_train(checked, directory, console)
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
        if fits := references.due(directory, checked, arms.arms_of(checked)[0]):
            console.print(f"not counted: {len(fits)} fits of reference arms", highlight=False)
        limit = memory.limit(checked.population.memory_gb)
        console.print(
            f"memory about {max(e.bytes for e in estimates) / 1e9:.1f} GB; a group is cut at {limit / 1e9:.1f} GB",
            highlight=False,
        )
    return estimates


def to_train(
    checked: config.Experiment, directory: Path, console: Console
) -> tuple[groups.Workshop, list[programs.Group], list[int]]:
    """The groups still to be trained in `directory`, and how many steps of each are behind it; says so.

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
        say(console, words)
    return workshop, made, done


def estimate(group: programs.Group, workshop: groups.Workshop, checked: config.Experiment, done: int = 0) -> Estimate:
    """Compiles a group's programs and times some steps and an evaluation of them; `done` steps are behind it."""
    static, dataset = group.static, workshop.dataset(group.source)
    mode = forms.choose_mode(checked.population.mode, static)
    devices = len(sharding.slots_for(len(group.runs), checked.population.devices, static.mesh))
    part = trial.part_of(group, checked)
    width = len(part.runs)
    population.forget_programs()
    cold = trial.Trial(part, dataset, checked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # before a second one is beside it
    compiled = cold.compile_seconds
    del cold
    stays = memory.release() or peak
    population.forget_programs()  # what the study will do: trace, and find the program in the cache
    warm = trial.Trial(part, dataset, checked)
    step, look = warm.time_step(), warm.time_evaluation()
    scale = len(group.runs) / width
    shared = devices if jax.default_backend() == "cpu" else width  # an accelerator takes as long for a run as for many
    timed = timing.estimate(len({(run.arm, run.seed) for run in group.runs}), checked, step * shared / width)
    evaluations = max(1, -(-(static.total_steps - done) // static.eval_every))
    images = evaluations * group.split.validation.shape[1]
    images += len(dataset.test_labels) if checked.evaluation.test == "all" else 0
    seconds = warm.compile_seconds + PER_GROUP_SECONDS
    seconds += scale * ((static.total_steps - done) * step + images * look)
    one = _first(group.hyper)
    peak += (len(group.runs) - width) * memory.of_run(static, one)
    peak += len(group.runs) * memory.of_state(static, one) + memory.SAVING
    return Estimate(
        arms=len({run.arm for run in group.runs}),
        runs=len(group.runs),
        mode=mode + "ped",
        parameters=train.param_count(static, one),
        steps=static.total_steps,
        compile_seconds=compiled,
        seconds=seconds,
        bytes=max(peak, stays + REPORT_BYTES),
        alone_seconds=timed + compiled if timed else 0.0,
    )


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
