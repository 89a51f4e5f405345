"""How fast is this engine beside plain Flax and PyTorch? `python -m benchmarks.throughput`, about eight minutes.

Same network, optimizer, batch and images for all; data resident; PyTorch at the best of its dtypes, layouts, processes
and threads, found in a short calibration; samples taken in turns, and compared within a turn; the accuracy of each
beside its speed. `--crossover` measures instead where mapped runs overtake vmapped ones (population.VMAP_BELOW_FLOPS).
"""

import argparse
import dataclasses
import itertools
import json
import math
import statistics
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from benchmarks import chart, machine
from benchmarks.chart import BFLOAT16, FLAX, FLOAT32, OURS
from benchmarks.rivals import Case, Choice, PlainFlax, Team, Torch
from fmnist_jax import config, data, errors, experiment, metrics, models, population, sharding

WORKLOADS = {"cnn": {}, "cnn_no_bn": {"norm": ("none",)}, "mlp": {"family": "mlp", "dense": (10,)}}
SMALL = {"filters": (4,), "dense": (8,)}
TINY = {"cnn": SMALL, "cnn_no_bn": {**SMALL, "norm": ("none",)}, "mlp": WORKLOADS["mlp"]}
GOALS = (("cnn", FLOAT32, 1.2), ("cnn", FLAX, 20.0), ("mlp", FLOAT32, 8.0), ("mlp", BFLOAT16, 8.0))
CROSSOVER = (
    *({"family": "mlp", "dense": (units,)} for units in (3, 10, 30, 100, 300, 800)),
    *({"filters": filters, "dense": (16,)} for filters in ((1,), (2,), (4,), (4, 8), (8, 16))),
)
NOTES = (
    "images/s counts training images over all runs in flight; ratios are taken within a turn",
    "fmnist_jax and plain Flax: uint8 images on the device, all runs together",
    "PyTorch: float32 images in memory, fused Adam, denormals flushed; one run a process; bfloat16 by autocast",
    "accuracy: one run, after the same number of steps; PyTorch's running variance is the unbiased one",
)
ACCURACY_SECONDS = 60.0  # who would need longer than this is not asked for an accuracy
RESULTS = Path(__file__).parent / "results"


class Ours:
    """The population engine: all runs at once, on every device, long segments."""

    chunk = 1

    def __init__(self, case: Case, mode: str = "auto"):
        self.case, self.runs, self.step = case, case.runs, 0
        mode = population.choose_mode(mode, case.static)
        self.population = pop = population.Population(case.static, self.runs, sharding.devices_for(self.runs, 0), mode)
        size = len(case.dataset.train_labels)
        self.inputs = population.Inputs(
            seeds=pop.put(np.arange(self.runs, dtype=np.uint32)),
            hyper=pop.put(jax.tree.map(lambda leaf: np.repeat(leaf[None], self.runs, axis=0), case.hyper)),
            images=pop.share(np.asarray(case.dataset.train_images)),
            labels=pop.share(case.dataset.train_labels),
            train=pop.put(np.tile(np.arange(size, dtype=np.int32), (self.runs, 1))),
            train_size=pop.put(np.full(self.runs, size, np.int32)),
            validation=pop.put(np.zeros((self.runs, 0), np.int32)),
            validation_size=pop.put(np.zeros(self.runs, np.int32)),
        )
        self.state = pop.init(self.inputs)

    def warm(self) -> None:
        """Compiles."""
        self.train(1)

    def train(self, steps: int) -> None:
        """Trains every run for `steps` steps; returns when that is done."""
        epoch, end = self.case.static.steps_per_epoch, self.step + steps
        while self.step < end:
            steps = min(end, (self.step // epoch + 1) * epoch) - self.step
            self.state = self.population.segment(self.state, self.inputs, self.step, steps)
            self.step += steps
        jax.block_until_ready(self.state.parts)

    def accuracy(self) -> float:
        """Of the first run, on the test set."""
        pop, test = self.population, self.case.dataset
        size = len(test.test_labels)
        indices = pop.put(np.tile(np.arange(size, dtype=np.int32), (self.runs, 1)))
        images, labels = pop.share(np.asarray(test.test_images)), pop.share(test.test_labels)
        sizes = pop.put(np.full(self.runs, size, np.int32))
        sums, _ = pop.evaluate(self.state, self.inputs.hyper, images, labels, indices, sizes)
        return float(metrics.finalise(pop.get(sums))["accuracy"][0])


def make_case(workload: str, changes: dict, batch: int, runs: int, dataset: data.Dataset) -> Case:
    """The default config (Adam 1e-3, Keras's constants) with `changes` to its model, on the whole training set."""
    wanted = config.default()
    wanted.train.batch_size = batch
    wanted.evaluation.batch_size = min(500, len(dataset.test_labels))
    wanted.model.update(changes)
    checked = config.parse(wanted)
    shape, size = tuple(dataset.train_images.shape[1:]), len(dataset.train_labels)
    static, hyper = experiment.resolve(
        checked, shape, len(dataset.class_names), size, population.choose_conv("auto", jax.default_backend(), "auto")
    )
    return Case(workload, runs, checked, static, hyper, dataset)


def seconds_of(contender, steps: int) -> float:
    """Wall time of `steps` steps."""
    start = time.perf_counter()
    contender.train(steps)
    return time.perf_counter() - start


def probe(contender, seconds: float) -> tuple[float, int]:
    """(steps a second, steps that take about `seconds`), found in no more than that, or in one chunk."""
    contender.warm()
    steps = contender.chunk
    while (elapsed := seconds_of(contender, steps)) < seconds / 3:
        steps *= int(np.clip(seconds / 2 / elapsed, 2, 50))
    return steps / elapsed, max(1, round(seconds * steps / elapsed / contender.chunk)) * contender.chunk


def calibrate(case: Case, team: Team, seconds: float) -> list[tuple[Choice, float | str]]:
    """Images a second of every way to run PyTorch (or why there are none)."""
    cores, grid = sharding.cores(), []

    def measure(choice):
        try:
            rival = Torch(case, choice, team, "calibration")
            grid.append((choice, probe(rival, seconds)[0] * rival.runs * case.static.batch_size))
        except RuntimeError as error:
            grid.append((choice, str(error).strip().splitlines()[0]))

    layouts = ("contiguous", "channels_last") if case.static.model.blocks else ("contiguous",)
    teams = dict.fromkeys([(1, 1), (1, cores), *([(cores, 1)] if len(team.members) >= cores else [])])
    for dtype, layout, (processes, threads) in itertools.product(("float32", "bfloat16"), layouts, teams):
        measure(Choice(dtype, layout, processes, threads))
    if team.members:
        for dtype in ("float32", "bfloat16"):
            measure(dataclasses.replace(best(grid, dtype)[0], compiled=True))
    return grid


def best(grid, dtype: str) -> tuple[Choice, float]:
    """The fastest choice of a dtype."""
    return max((c for c in grid if c[0].dtype == dtype and not isinstance(c[1], str)), key=lambda c: c[1])


def compare(case: Case, team: Team, args, console: Console) -> dict:
    """One case: calibration, samples taken in turns, accuracies."""
    batch = case.static.batch_size
    grid = calibrate(case, team, args.seconds / 4)
    console.print(chart.grid_table(case, grid))
    chunk = math.gcd(args.accuracy_steps, 2 if case.static.model.blocks else 100)  # XLA unrolls a scan of one step
    chosen = {FLOAT32: best(grid, "float32")[0], BFLOAT16: best(grid, "bfloat16")[0]}
    makers = {
        OURS: Ours,
        **{name: lambda case, name=name: Torch(case, chosen[name], team, name) for name in chosen},
        FLAX: lambda case: PlainFlax(case, chunk),
    }
    contenders = {name: make(case) for name, make in makers.items()}
    probed = {name: probe(contender, args.seconds) for name, contender in contenders.items()}
    samples = {name: [] for name in contenders}
    for turn, (name, contender) in itertools.product(range(args.pairs), contenders.items()):
        rate, steps = probed[name]
        if turn * steps / rate < 1.25 * args.pairs * args.seconds:  # two steps of plain Flax may take half a minute
            samples[name].append(steps * batch * contender.runs / seconds_of(contender, steps))
    one = dataclasses.replace(case, runs=1)
    return {
        "workload": case.workload,
        "batch": batch,
        "runs": case.runs,
        "mode": contenders[OURS].population.mode,
        "training_flops_per_image": case.flops,
        "calibration": [{**dataclasses.asdict(choice), "images_per_second": rate} for choice, rate in grid],
        "contenders": {
            name: {
                "how": str(chosen.get(name, f"{case.runs} runs")),
                "images_per_second": summary(values),
                "ours_is": summary([a / b for a, b in zip(samples[OURS], values, strict=False)]),
                "test_accuracy": accuracy(makers[name], one, args.accuracy_steps, statistics.median(values)),
            }
            for name, values in samples.items()
        },
    }


def accuracy(make, case: Case, steps: int, rate: float) -> float | None:
    """Test accuracy of a run after `steps` steps; None where that would take too long at `rate` images/s."""
    if steps * case.static.batch_size / rate > ACCURACY_SECONDS:
        return None
    contender = make(case)
    contender.train(steps)
    return contender.accuracy()


def summary(values: list[float]) -> dict:
    """Median, min, max, n, and the samples themselves."""
    median = statistics.median(values)
    return {"median": median, "min": min(values), "max": max(values), "n": len(values), "samples": values}


def crossover(args, dataset, console: Console) -> list[dict]:
    """Run-steps a second of mapped and of vmapped runs, in turns, by the size of the network."""
    rows = []
    for changes in CROSSOVER[::5] if args.smoke else CROSSOVER:
        case = make_case("crossover", changes, args.batch[0], args.runs, dataset)
        ways = {mode: Ours(case, mode) for mode in ("map", "vmap")}
        steps = {mode: probe(ours, args.seconds / 4)[1] for mode, ours in ways.items()}
        samples = {mode: [] for mode in ways}
        for _, mode in itertools.product(range(args.pairs), ways):
            samples[mode].append(steps[mode] * case.runs / seconds_of(ways[mode], steps[mode]))
        flops = models.forward_flops(case.static.model, case.static.image_shape)
        ratio = summary([v / m for v, m in zip(samples["vmap"], samples["map"], strict=True)])
        medians = {mode: statistics.median(values) for mode, values in samples.items()}
        rule = population.choose_mode("auto", case.static)
        rows.append({"model": changes, "forward_flops": flops, **medians, "vmap_over_map": ratio, "rule": rule})
    rows.sort(key=lambda row: row["forward_flops"])
    console.print(chart.crossover_table(rows, args.runs, args.batch[0]))
    return rows


def goals(cases: list[dict]) -> list[dict]:
    """What was to be reached, and what was."""
    return [
        {"workload": case["workload"], "batch": case["batch"], "rival": rival, "goal": goal, "reached": reached}
        for workload, rival, goal in GOALS
        for case in cases
        if case["workload"] == workload
        for reached in [case["contenders"][rival]["ours_is"]["median"]]
    ]


def load(name: str, console: Console) -> data.Dataset:
    """The data set, or drawn garments where it cannot be had; says which."""
    try:
        dataset = data.load(name)
    except (errors.UserError, errors.RunError) as error:
        console.print(f"[yellow]{error}[/]")
        dataset = data.load("synthetic:20000")
    if dataset.synthetic:
        console.print("[bold]SYNTHETIC DATA[/]: drawn garments; the accuracies say nothing about Fashion-MNIST")
    return dataset


def parse(argv) -> argparse.Namespace:
    """The flags; `--smoke` overrides most of them."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    flags.add_argument("--workload", default="cnn,mlp", help=f"of {', '.join(WORKLOADS)}")
    flags.add_argument("--batch", default="32,128", help="batch sizes; an MLP takes the first alone")
    flags.add_argument("--runs", type=int, default=8, help="of this engine and of plain Flax, in flight together")
    flags.add_argument("--pairs", type=int, default=5, help="samples of each contender")
    flags.add_argument("--seconds", type=float, default=3.0, help="of one sample, about")
    flags.add_argument("--accuracy-steps", type=int, default=700, help="at 0.99, batch norm lags by 100")
    flags.add_argument("--dataset", default="fashion_mnist")
    flags.add_argument("--out", type=Path, help="JSON, and a PNG beside it; default: in benchmarks/results")
    flags.add_argument("--crossover", action="store_true", help="mapped against vmapped runs, instead")
    flags.add_argument("--smoke", action="store_true", help="tiny sizes, one process: does it work at all?")
    args = flags.parse_args(argv)
    if args.smoke:
        small = {"runs": 2, "pairs": 1, "seconds": 0.05, "accuracy_steps": 4, "dataset": "synthetic:240", "batch": "16"}
        vars(args).update(small)
    args.batch = [int(size) for size in args.batch.split(",")]
    args.workload = args.workload.split(",")
    if unknown := set(args.workload) - set(WORKLOADS):
        flags.error(f"--workload={','.join(unknown)}: take some of {', '.join(WORKLOADS)}")
    args.out = args.out or RESULTS / ("crossover.json" if args.crossover else "throughput.json")
    return args


def main(argv=None) -> None:
    """Measures, prints, writes."""
    args, console = parse(argv), Console()
    sharding.configure("cpu")
    dataset = load(args.dataset, console)
    found = machine.environment(dataset)
    if args.crossover:
        found["crossover"] = crossover(args, dataset, console)
    else:
        sizes = (64,) if args.smoke else (512, 1024, 2048)
        found["matmul_gflops"] = machine.matmul_limit(sizes, min(0.5, args.seconds))
        models_of = TINY if args.smoke else WORKLOADS
        with Team(0 if args.smoke else sharding.cores()) as team:
            found["cases"] = [
                compare(make_case(workload, models_of[workload], batch, args.runs, dataset), team, args, console)
                for workload in args.workload
                for batch in (args.batch[:1] if workload == "mlp" else args.batch)
            ]
        found["goals"] = goals(found["cases"])
        found["notes"] = NOTES
        chart.print_report(found, console)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1))
    console.print(f"written to {args.out}", highlight=False, soft_wrap=True)
    if not args.crossover:
        chart.plot(found, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
