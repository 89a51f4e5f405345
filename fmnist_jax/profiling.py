"""Where the time of a study's programs goes: a trace to open, and the longest operations in the terminal.

Nothing is trained: like a plan, a profile compiles each group's programs and runs them for a moment on its own data.
"""

import dataclasses
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from fmnist_jax import config, paper, plan, timing, trial
from fmnist_jax.errors import UserError

SECONDS = 1.0  # of steps that are traced; every operation is an event, and a small net has a million a second
MOST_STEPS = 500
SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of a compiled program."""

    name: str  # XLA's: "dot_general.13"
    of: str  # what it was traced from: "conv_1/dot_general"; of a fusion, its last operation
    calls: int
    seconds: float  # over all devices


def show_paper(checked: config.Experiment, directory: Path, place: Path, console: Console) -> None:
    """`show` of every part of a paper, each in a folder of its own.

    Raises:
      UserError: as the study itself would.
    """
    for name, part in paper.check(checked, directory, console).items():
        console.print(f"\n[bold]part {name}[/bold]", highlight=False)
        show(part, directory / name, place / name, console)


def show(checked: config.Experiment, directory: Path, place: Path, console: Console) -> None:
    """Traces every group that is still to be trained in `directory`, and prints its longest operations.

    Raises:
      UserError: as the study itself would; `place` is there already.
    """
    if place.exists():
        raise UserError(f"--profile={place}: is there already; name a folder that is not")
    workshop, made, _ = plan.to_train(checked, directory, console)
    for group in made:
        part = trial.part_of(group, checked)
        tried = trial.Trial(part, workshop.dataset(group.source), checked)
        if not tried.trained:
            continue
        steps = int(min(max(1, SECONDS / tried.time_step()), MOST_STEPS))
        with jax.profiler.trace(place / group.name):
            _, took = timing.time_steps(tried.runs, tried.state, tried.inputs, steps)
        found = operations(place / group.name, tried.runs.sources())
        console.print(_table(f"group {group.name}: {steps} steps of {len(part.runs)} runs in {took:.2g} s", found))
    if made:
        console.print(
            f"traces are in {place}: open a {TRACE} at https://ui.perfetto.dev, or the folder with xprof",
            highlight=False,
            soft_wrap=True,
        )


TRACE = "*.trace.json.gz"


def operations(place: Path, sources: dict[str, str]) -> list[Operation]:
    """What a trace under `place` has of XLA's operations, the longest first; `sources` name what they were made of.

    An operation that holds others, as a loop does, is left out.
    """
    (path,) = place.rglob(TRACE)
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    seconds, calls = Counter(), Counter()
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            seconds[event["name"]] += event["dur"] / 1e6
            calls[event["name"]] += 1
    loops = re.compile(r"(while|call|conditional)[.\d]*$")
    return [
        Operation(name, sources.get(name, ""), calls[name], took)
        for name, took in seconds.most_common()
        if not loops.match(name)
    ]


def _table(title: str, found: list[Operation]) -> Table:
    table = Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("share", "calls", "µs each"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=8)
    table.add_column("operation", overflow="ellipsis", no_wrap=True, max_width=54)
    total = sum(one.seconds for one in found)
    for one in found[:SHOWN]:
        numbers = f"{one.seconds / total:.1%}", f"{one.calls:,}", f"{1e6 * one.seconds / one.calls:,.1f}"
        table.add_row(*numbers, f"{one.of}  [dim]{one.name}[/]")
    if len(found) > SHOWN:
        rest = sum(one.seconds for one in found[SHOWN:])
        table.add_row(f"{rest / total:.1%}", "", "", f"[dim]{len(found) - SHOWN} others[/]")
    return table
