"""How fast is this engine beside its rivals? `python -m benchmarks.throughput`, about an hour on two cores.

Same network, optimizer, batch and images for all; data resident; every rival in the fastest of its layouts, processes,
threads and compilers, found in a short calibration; samples taken in turns, and compared within a turn; the accuracy of
each beside its speed. What each workload is: benchmarks/cases.py. `--add` measures some of them again and keeps the
others; `--crossover` measures instead where mapped runs overtake vmapped ones (forms.VMAP_BELOW_FLOPS).
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks import accuracy, cases, chart, crossover, goals, machine, record, roofline, sampling, tables
from benchmarks.cases import FLAX, OURS, WORKLOADS, Case
from benchmarks.ours import Ours
from benchmarks.rivals import choices, keras_rival
from benchmarks.rivals.choices import Choice
from benchmarks.rivals.plain import PlainFlax
from benchmarks.rivals.team import Remote, Team
from fmnist_jax import forms, sharding

NOTES = (
    "images/s counts the images of all runs in flight; ratios are taken within a turn",
    "fmnist_jax and plain Flax: uint8 images on the device, all runs together",
    "PyTorch: float32 images in memory, fused optimizer, denormals flushed; one run a process; bfloat16 by autocast; "
    "in inference, batch norm folded into the convolutions",
    "torch.func.vmap: all runs together, or a share of them a process; PyTorch's fused Adam on the stacked leaves",
    "Keras: fit on float32 arrays in memory, a run a process",
    "accuracy: mean over seeds after the same number of steps; null: not run, as it would take more than "
    "a minute (plain Flax, Keras), or nothing is trained (inference)",
    "share of the limit: images/s x FLOPs of an image, over the best float32 product measured just before the case",
)


class Method(NamedTuple):
    """How long and how often is measured."""

    pairs: int
    seconds: float
    smoke: bool


def compare(case: Case, rivals: tuple[str, ...], team: Team, method: Method, console: Console) -> dict:
    """One case: the machine's limits, calibration, samples taken in turns, accuracies."""
    load, begun = machine.load_average(), record.opening("throughput")
    limits = machine.limits(method.smoke, min(0.5, method.seconds))
    start = functools.partial(_start, team, case)
    grids = {rival: _calibrate(rival, case, start, method) for rival in rivals if rival != FLAX}
    console.print(chart.grid_table(case, grids))
    chosen = {rival: best[0] for rival, grid in grids.items() if (best := choices.fastest(grid))}
    makers = _makers(case, rivals, chosen, start)
    with contextlib.ExitStack() as stack:
        contenders = {name: make(stack, 0) for name, make in makers.items()}
        probed = {name: sampling.probe(contender, method.seconds) for name, contender in contenders.items()}
        samples = in_turns(contenders, probed, method)
        runs = {name: contender.runs for name, contender in contenders.items()}
        del contenders  # the stack lets go of what they hold
    accuracies, steps = _accuracies(case, makers, runs, samples, method)
    best = max(limits["matmul_gflops"].values())
    return {
        "workload": case.workload,
        "study": WORKLOADS[case.workload].study,
        "task": case.task,
        "batch": case.batch,
        "runs": case.runs,
        "mode": forms.choose_mode("auto", case.static),
        "flops_per_image": case.flops,
        "bytes_per_image": case.bytes,
        "dataset": {"name": case.dataset.name, "synthetic": case.dataset.synthetic},
        "environment": {**begun, "load_average": load},
        **limits,
        "share_of_limit": record.summary([rate * case.flops / best / 1e9 for rate in samples[OURS]]),
        "calibration": [
            {"rival": rival, **dataclasses.asdict(choice), "images_per_second": rate}
            for rival, grid in grids.items()
            for choice, rate in grid
        ],
        "accuracy_steps": steps,
        "contenders": {
            name: {
                "how": str(chosen.get(name, f"{case.runs} runs")),
                "images_per_second": record.summary(values),
                "ours_is": record.summary([a / b for a, b in zip(samples[OURS], values, strict=False)]),
                "test_accuracy": accuracies[name],
            }
            for name, values in samples.items()
        },
    }


def _start(
    team: Team, case: Case, stack: contextlib.ExitStack, choice: Choice, name: str = "calibration", seed: int = 0
) -> Remote:
    """A rival in the team, or of Keras in one of its own; the stack lets go of it."""
    if choice.library == "keras" and team.size:
        team = stack.enter_context(Team(choice.processes, keras_rival.environment(choice)))
    elif choice.library == "keras":
        os.environ.update(keras_rival.environment(choice))
    return _kept(stack, Remote(case, choice, team, name, seed))


def _kept(stack: contextlib.ExitStack, contender):
    """The contender; when the stack is left, its memory is let go."""
    stack.callback(contender.drop)
    return contender


def _calibrate(rival: str, case: Case, start: Callable, method: Method) -> list[tuple[Choice, float | str]]:
    """Images/s of every way to run a rival, one built at a time."""

    def measure(choice: Choice) -> float:
        with contextlib.ExitStack() as stack:
            return sampling.probe(start(stack, choice), method.seconds / 4)[0]

    return choices.calibrate(rival, case, 1 if method.smoke else sharding.cores(), measure, method.smoke)


def _makers(case: Case, rivals: tuple[str, ...], chosen: Mapping[str, Choice], start: Callable) -> dict[str, Callable]:
    """Name -> (stack, seed) -> the contender, built; without the rivals of which no way works."""
    makers = {OURS: lambda stack, seed: _kept(stack, Ours(case, seed))}
    for rival in rivals:
        if rival == FLAX:
            chunk = 2 if case.static.model.blocks else 20  # XLA unrolls a scan of one step
            makers[FLAX] = lambda stack, seed, chunk=chunk: _kept(stack, PlainFlax(case, chunk, seed))
        elif rival in chosen:
            makers[rival] = lambda stack, seed, rival=rival: start(stack, chosen[rival], rival, seed)
    return makers


def in_turns(contenders: dict, probed: dict, method: Method) -> dict[str, list[float]]:
    """Images/s of each contender in each turn.

    Who takes much longer than asked, such as plain Flax, for whom two steps may be half a minute, has fewer turns.
    """
    ways, turns = {}, {}
    for name, contender in contenders.items():
        rate, steps = probed[name]
        images = steps * contender.batch * contender.runs
        ways[name] = lambda contender=contender, steps=steps, images=images: (
            images / sampling.seconds_of(contender, steps)
        )
        turns[name] = min(method.pairs, math.ceil(1.25 * method.pairs * method.seconds * rate / images))
    return sampling.in_turns(ways, turns)


def _accuracies(case: Case, makers: dict, runs: dict, samples: dict, method: Method) -> tuple[dict, int]:
    """(Contender -> its test accuracy, None where it is not run; the steps after which)."""
    most_steps, most_seeds = (4, accuracy.LEAST_SEEDS) if method.smoke else (accuracy.MOST_STEPS, accuracy.MOST_SEEDS)
    rates = {name: statistics.median(values) for name, values in samples.items()}
    steps = accuracy.steps(case, rates, most_steps) if case.task == "train" else 0
    found = {}
    for name, make in makers.items():
        pays = name in accuracy.PAYING
        found[name] = accuracy.measure(make, runs[name], case, steps, rates[name], pays=pays, most=most_seeds)
    return found, steps


def merged(kept: list[dict], measured: list[dict]) -> list[dict]:
    """Cases in the order of WORKLOADS; of one measured twice, the later."""
    both = {(case["workload"], case["batch"]): case for case in [*kept, *measured]}
    return sorted(both.values(), key=lambda case: (list(WORKLOADS).index(case["workload"]), case["batch"]))


def parse(argv) -> argparse.Namespace:
    """The flags; `--smoke` overrides most of them."""
    flags = record.flags("throughput", __doc__)
    flags.add_argument("--workload", default=",".join(WORKLOADS), help=f"default: all, {', '.join(WORKLOADS)}")
    flags.add_argument("--batch", help="batch sizes, in place of each workload's own")
    flags.add_argument(
        "--runs", type=int, default=8, help="of this engine, plain Flax and torch.func, in flight together"
    )
    flags.add_argument("--pairs", type=int, default=5, help="samples of each contender")
    flags.add_argument("--seconds", type=float, default=2.0, help="of one sample, about")
    flags.add_argument("--add", action="store_true", help="keep the cases of --out that are not measured now")
    flags.add_argument("--crossover", action="store_true", help="mapped against vmapped runs, instead")
    args = flags.parse_args(argv)
    if args.smoke:
        args.runs, args.pairs, args.seconds, args.batch = 2, 1, 0.05, args.batch or "8"
    args.batch = [int(size) for size in args.batch.split(",")] if args.batch else None
    args.workload = args.workload.split(",")
    if unknown := set(args.workload) - set(WORKLOADS):
        flags.error(f"--workload={','.join(sorted(unknown))}: take some of {', '.join(WORKLOADS)}")
    args.out = record.place("crossover" if args.crossover else "throughput", args)
    return args


def main(argv=None) -> None:
    """Measures, prints, and writes after each case, so that what is interrupted keeps what it has."""
    args, console = parse(argv), Console()
    sharding.configure("cpu")
    if args.crossover:
        return crossover.main(args, console)
    for name in args.workload:
        source = cases.Source(cases.study_arm(WORKLOADS[name]).dataset)
        record.need_data(args.smoke, name, functools.partial(cases.load, source))
    method, measured = Method(args.pairs, args.seconds, args.smoke), []
    kept = json.loads(args.out.read_text())["cases"] if args.add and args.out.exists() else []
    with Team(0 if args.smoke else sharding.cores()) as team:
        for name in args.workload:
            for batch in args.batch or WORKLOADS[name].batches:
                case = cases.of_workload(name, batch, args.runs, tiny=args.smoke)
                measured.append(compare(case, WORKLOADS[name].rivals, team, method, console))
                console.print(*chart.case_report(measured[-1]), sep="\n")
                found = {**record.opening("throughput"), "cases": merged(kept, measured)}
                found |= {"goals": goals.throughput(found), "notes": NOTES}
                write(found, args.out, console)
    tables.show_goals(found["goals"], console)


def write(found: dict, path: Path, console: Console) -> None:
    """The JSON, and the plots beside it."""
    record.write(found, path, console)
    chart.plot(found, path.with_suffix(".png"))
    roofline.plot(found, path.with_name("roofline.png"))


if __name__ == "__main__":
    main()
