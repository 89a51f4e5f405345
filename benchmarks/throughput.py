"""How fast is this engine beside its rivals? `python -m benchmarks.throughput`, about an hour on two cores.

Same network, optimizer, batch and images for all; data resident; every rival in the fastest of its layouts, processes,
threads and compilers, found in a short calibration; samples taken in turns, and compared within a turn; the accuracy of
each beside its speed. What each workload is: benchmarks/cases.py. `--add` measures some of them again and keeps the
others; `--crossover` measures instead where mapped runs overtake vmapped ones (population.VMAP_BELOW_FLOPS).
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import cases, chart, machine, record, roofline
from benchmarks.cases import BFLOAT16, FLAX, FLOAT32, KERAS, OURS, VMAP, WORKLOADS, Case
from benchmarks.ours import Ours
from benchmarks.rivals import choices, keras_rival
from benchmarks.rivals.choices import Choice
from benchmarks.rivals.plain import PlainFlax
from benchmarks.rivals.team import Remote, Team
from fmnist_jax import errors, sharding

LIMIT = "the matmul limit"
GOALS = (  # workload, rival, how many times as fast this engine is to be; against the limit, the share of it
    ("alexander", FLOAT32, 1.5),
    ("alexander", BFLOAT16, 1.0),
    ("alexander", FLAX, 40.0),
    ("alexander", KERAS, 2.0),
    ("alexander", LIMIT, 0.5),
    ("kunze_10", FLOAT32, 10.0),
    ("kunze_10", VMAP, 10.0),
    ("kunze_800", FLOAT32, 4.0),
    ("kunze_800", VMAP, 4.0),
    ("acosta", FLOAT32, 1.3),
    ("blagg", FLOAT32, 1.3),
    ("resnet18", FLOAT32, 1.0),
    ("resnet18_inference", FLOAT32, 1.0),
)
NOTES = (
    "images/s counts the images of all runs in flight; ratios are taken within a turn",
    "fmnist_jax and plain Flax: uint8 images on the device, all runs together",
    "PyTorch: float32 images in memory, fused optimizer, denormals flushed; one run a process; bfloat16 by autocast; "
    "in inference, batch norm folded into the convolutions",
    "torch.func.vmap: all runs together, or a share of them a process; PyTorch's fused Adam on the stacked leaves",
    "Keras: fit on float32 arrays in memory, a run a process",
    "accuracy: mean over seeds after the same number of steps; null: not run, as it would take more than "
    "ACCURACY_SECONDS (plain Flax, Keras), or nothing is trained (inference)",
    "share of the limit: images/s x FLOPs of an image, over the best float32 product measured just before the case",
)
ACCURACY_SECONDS = 60.0  # of a contender; all make as many steps as the slowest of PAYING has the time for
PAYING = (OURS, FLOAT32, BFLOAT16)
MOST_STEPS, MOST_SEEDS, LEAST_SEEDS = 2000, 8, 3


@dataclasses.dataclass
class Method:
    """How long and how often is measured."""

    pairs: int
    seconds: float
    smoke: bool

    @property
    def most_steps(self) -> int:
        """Of a run whose accuracy is measured."""
        return 4 if self.smoke else MOST_STEPS

    @property
    def most_seeds(self) -> int:
        """Of a contender's accuracy."""
        return LEAST_SEEDS if self.smoke else MOST_SEEDS


def seconds_of(contender, steps: int) -> float:
    """Wall time of `steps` steps."""
    start = time.perf_counter()
    contender.work(steps)
    return time.perf_counter() - start


def probe(contender, seconds: float) -> tuple[float, int]:
    """(images/s, steps that take about `seconds`), found in no more than that, or in one chunk."""
    contender.warm()
    steps = contender.chunk
    while (elapsed := seconds_of(contender, steps)) < seconds / 3:
        steps *= int(np.clip(seconds / 2 / elapsed, 2, 50))
    wanted = max(1, round(seconds * steps / elapsed / contender.chunk)) * contender.chunk
    return steps * contender.batch * contender.runs / elapsed, wanted


def calibrate(case: Case, rival: str, start: Callable, method: Method) -> list[tuple[Choice, float | str]]:
    """Images/s of every way to run a rival, one built at a time; or, as text, why there are none."""
    tried = []

    def measure(choice: Choice) -> None:
        try:
            with contextlib.ExitStack() as stack:
                contender = start(stack, case, choice, "calibration")
                tried.append((choice, probe(contender, method.seconds / 4)[0]))
        except RuntimeError as error:
            tried.append((choice, str(error).strip().splitlines()[0]))

    first = choices.first(rival, case, 1 if method.smoke else sharding.cores())
    for choice in first[:1] if method.smoke else first:
        measure(choice)
    for choice in [] if method.smoke else choices.second(rival, case, tried):
        measure(choice)
    return tried


def compare(case: Case, rivals: tuple[str, ...], team: Team, method: Method, console: Console) -> dict:
    """One case: the machine's limits, calibration, samples taken in turns, accuracies."""
    load, begun = machine.load_average(), record.opening("throughput")
    limits = machine.limits(method.smoke, min(0.5, method.seconds))
    start = functools.partial(_start, team)
    grids = {rival: calibrate(case, rival, start, method) for rival in rivals if rival != FLAX}
    console.print(chart.grid_table(case, grids))
    chosen = {rival: best[0] for rival, grid in grids.items() if (best := choices.fastest(grid))}
    makers: dict[str, Callable] = {OURS: lambda stack, seed: _kept(stack, Ours(case, seed))}
    for rival in rivals:
        if rival == FLAX:
            chunk = 2 if case.static.model.blocks else 20  # XLA unrolls a scan of one step
            makers[FLAX] = lambda stack, seed, chunk=chunk: _kept(stack, PlainFlax(case, chunk, seed))
        elif rival in chosen:
            makers[rival] = lambda stack, seed, rival=rival: start(stack, case, chosen[rival], rival, seed)
    with contextlib.ExitStack() as stack:
        contenders = {name: make(stack, 0) for name, make in makers.items()}
        probed = {name: probe(contender, method.seconds) for name, contender in contenders.items()}
        samples = in_turns(contenders, probed, method)
        mode = contenders[OURS].population.mode
        in_flight = {name: contender.runs for name, contender in contenders.items()}
        del contenders  # the stack lets go of what they hold
    rates = {name: statistics.median(values) for name, values in samples.items()}
    steps = accuracy_steps(case, rates, method) if case.task == "train" else 0
    best = max(limits["matmul_gflops"].values())
    return {
        "workload": case.workload,
        "study": WORKLOADS[case.workload].study,
        "task": case.task,
        "batch": case.batch,
        "runs": case.runs,
        "mode": mode,
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
                "test_accuracy": accuracy(
                    makers[name], in_flight[name], case, steps, rates[name], method, name in PAYING
                ),
            }
            for name, values in samples.items()
        },
    }


def _start(team: Team, stack: contextlib.ExitStack, case: Case, choice: Choice, name: str, seed: int = 0) -> Remote:
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


def in_turns(contenders: dict, probed: dict, method: Method) -> dict[str, list[float]]:
    """Images/s of each contender in each turn.

    The first of a turn is another one each time, and every second turn goes backwards: so none always follows the same.
    Who takes much longer than asked, such as plain Flax, for whom two steps may be half a minute, has fewer turns.
    """
    samples, names = {name: [] for name in contenders}, list(contenders)
    for turn in range(method.pairs):
        order = np.roll(names, -turn).tolist()
        for name in order if turn % 2 == 0 else order[::-1]:
            (rate, steps), contender = probed[name], contenders[name]
            images = steps * contender.batch * contender.runs
            if turn * images / rate < 1.25 * method.pairs * method.seconds:
                samples[name].append(images / seconds_of(contender, steps))
    return samples


def accuracy_steps(case: Case, rates: dict[str, float], method: Method) -> int:
    """Steps that the slowest of PAYING makes in ACCURACY_SECONDS, with the fewest seeds it may have; even, for FLAX."""

    def affordable(name: str) -> float:
        seeds = case.runs if name == OURS else LEAST_SEEDS
        return ACCURACY_SECONDS * rates[name] / (seeds * case.batch)

    steps = min(method.most_steps, *(affordable(name) for name in PAYING if name in rates))
    unit = 20 if steps >= 20 else 2
    return max(2, math.floor(steps / unit) * unit)


def accuracy(make: Callable, runs: int, case: Case, steps: int, rate: float, method: Method, pays: bool) -> dict | None:
    """Test accuracy after `steps` steps: {"mean", "sd", "n", "values"} of as many seeds as ACCURACY_SECONDS has.

    They are at least LEAST_SEEDS, and the `runs` that a contender of `rate` images/s trains at once. None where that
    would take longer and the contender does not pay for it all the same; and of no steps.
    """
    least = max(LEAST_SEEDS, runs)
    affordable = int(ACCURACY_SECONDS * rate / (steps * case.batch)) if steps else 0
    if not steps or (affordable < least and not pays):
        return None
    values: list[float] = []
    while len(values) < min(max(least, affordable), max(least, method.most_seeds)):
        with contextlib.ExitStack() as stack:
            contender = make(stack, len(values))
            contender.work(steps)
            values += contender.accuracies()
    return {"mean": statistics.mean(values), "sd": statistics.stdev(values), "n": len(values), "values": values}


def goals(measured: list[dict]) -> list[dict]:
    """The goals of all cases that are there, in their order; `reached` is null where there is no figure."""
    rows = []
    for workload, rival, wanted in GOALS:
        batches = {case["batch"]: case for case in measured if case["workload"] == workload}
        for batch in batches or WORKLOADS[workload].batches:
            case = batches.get(batch, {"contenders": {}, "share_of_limit": None})
            if rival == LIMIT:
                reached, unit = case["share_of_limit"], "%"
            else:
                reached, unit = case["contenders"].get(rival, {}).get("ours_is"), "×"
            rows.append({**record.goal(workload, rival, wanted, reached, unit=unit), "batch": batch})
    return rows


def merged(kept: list[dict], measured: list[dict]) -> list[dict]:
    """Cases in the order of WORKLOADS; of one measured twice, the later."""
    both = {(case["workload"], case["batch"]): case for case in [*kept, *measured]}
    return sorted(both.values(), key=lambda case: (list(WORKLOADS).index(case["workload"]), case["batch"]))


def load_data(names: list[str], smoke: bool) -> None:
    """Ends the program with status 2 where the images of a workload are not there; a smoke run draws its own."""
    for name in [] if smoke else names:
        try:
            cases.load(cases.Source(cases.study_arm(WORKLOADS[name]).dataset))
        except (errors.UserError, errors.RunError, OSError) as error:
            reason = " ".join(str(error).split())
            print(
                f"error: no images for {name}: set FMNIST_DATA_DIR to their folder, or --smoke: {reason}",
                file=sys.stderr,
            )
            sys.exit(2)


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
        from benchmarks import crossover

        return crossover.main(args, console)
    load_data(args.workload, args.smoke)
    method, measured = Method(args.pairs, args.seconds, args.smoke), []
    kept = json.loads(args.out.read_text())["cases"] if args.add and args.out.exists() else []
    with Team(0 if args.smoke else sharding.cores()) as team:
        for name in args.workload:
            for batch in args.batch or WORKLOADS[name].batches:
                case = cases.of_workload(name, batch, args.runs, tiny=args.smoke)
                measured.append(compare(case, WORKLOADS[name].rivals, team, method, console))
                console.print(*chart.case_report(measured[-1]), sep="\n")
                found = report(merged(kept, measured))
                write(found, args.out)
    console.print(chart.goals_table(found["goals"]))
    console.print(f"written to {args.out}", highlight=False, soft_wrap=True)


def report(measured: list[dict]) -> dict:
    """What the JSON holds."""
    return {**record.opening("throughput"), "cases": measured, "goals": goals(measured), "notes": NOTES}


def write(found: dict, path: Path) -> None:
    """The JSON, and the plots beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(found, indent=1) + "\n")
    scratch.replace(path)  # never half a file
    chart.plot(found, path.with_suffix(".png"))
    roofline.plot(found, path.with_name("roofline.png"))


if __name__ == "__main__":
    main()
