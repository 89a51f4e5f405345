"""How fast is this engine beside plain Flax and PyTorch? `python -m benchmarks.throughput`, about eight minutes.

Same network, optimizer, batch and images for all; data resident; PyTorch at the best of its dtypes, layouts, processes
and threads, found in a short calibration; samples taken in turns, and compared within a turn; the accuracy of each
beside its speed. `--crossover` measures instead where mapped runs overtake vmapped ones (population.VMAP_BELOW_FLOPS).
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import itertools
import json
import math
import platform
import statistics
import sys
import time
from pathlib import Path

import jax
import numpy as np
from jax.sharding import PartitionSpec
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.rivals import Case, Choice, PlainFlax, Team, Torch
from fmnist_jax import config, data, errors, experiment, metrics, models, population, sharding

OURS, FLOAT32, BFLOAT16, FLAX = "fmnist_jax", "PyTorch float32", "PyTorch bfloat16", "plain Flax"
WORKLOADS = {"cnn": {}, "cnn_no_bn": {"norm": ("none",)}, "mlp": {"family": "mlp", "dense": (10,)}}
TINY = {"cnn": {"filters": (4,), "dense": (8,)}, "cnn_no_bn": {"filters": (4,), "dense": (8,)}, "mlp": {}}
GOALS = (("cnn", FLOAT32, 1.2), ("cnn", FLAX, 20.0), ("mlp", FLOAT32, 8.0), ("mlp", BFLOAT16, 8.0))
CROSSOVER = (
    *({"family": "mlp", "dense": (units,)} for units in (3, 10, 30, 100, 300, 800)),
    *({"filters": filters, "dense": (16,)} for filters in ((1,), (2,), (4,), (4, 8), (8, 16))),
)
ACCURACY_SECONDS = 60.0  # a contender that would need longer than this is not asked for its accuracy
HERE = Path(__file__).parent


class Ours:
    """The population engine: all runs at once, on every device, long segments."""

    chunk = 1

    def __init__(self, case: Case, mode: str = "auto"):
        self.case, self.runs, self.step = case, case.runs, 0
        mode = population.choose_mode(mode, case.static, jax.default_backend())
        self.population = pop = population.Population(case.static, self.runs, sharding.run_mesh(self.runs, 0), mode)
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
        self.state = pop.call(pop.init, self.inputs.seeds, self.inputs.hyper)

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
        jax.block_until_ready(self.state)

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
    static, hyper = experiment.resolve(checked, shape, len(dataset.class_names), size, population.choose_conv("auto"))
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
    """Images a second of every way to run PyTorch (or why there are none), each dtype's best first."""
    cores, grid = sharding.cores(), []

    def measure(choice):
        try:
            rival = Torch(case, choice, team)
            grid.append((choice, probe(rival, seconds)[0] * rival.runs * case.static.batch_size))
        except RuntimeError as error:
            grid.append((choice, str(error).strip().splitlines()[-1]))

    in_parallel = [(cores, 1)] if len(team.pipes) >= cores > 1 else []
    for dtype in ("float32", "bfloat16"):
        for layout in ("contiguous", "channels_last") if case.static.model.blocks else ("contiguous",):
            for processes, threads in (*dict.fromkeys(((1, 1), (1, cores))), *in_parallel):
                measure(Choice(dtype, layout, processes, threads))
    if team.pipes:
        for dtype in ("float32", "bfloat16"):
            measure(dataclasses.replace(best(grid, dtype)[0], compiled=True))
    return grid


def best(grid, dtype: str) -> tuple[Choice, float]:
    """The fastest choice of a dtype."""
    return max((c for c in grid if c[0].dtype == dtype and not isinstance(c[1], str)), key=lambda c: c[1])


def compare(case: Case, team: Team, args, console: Console) -> dict:
    """One case: calibration, samples taken in turns, accuracies."""
    images = case.static.batch_size
    grid = calibrate(case, team, args.calibration_seconds)
    console.print(grid_table(case, grid))
    chunk = math.gcd(args.accuracy_steps, 2 if case.static.model.blocks else 100)  # XLA unrolls a scan of one step
    chosen = {FLOAT32: best(grid, "float32")[0], BFLOAT16: best(grid, "bfloat16")[0]}
    # A team holds one run a process: its members are rebuilt, compiled from the cache, and warmed, before each turn.
    makers = {name: lambda choice=choice: Torch(case, choice, team) for name, choice in chosen.items()}
    held = {OURS: Ours(case), FLAX: PlainFlax(case, chunk)}
    rates, steps, samples = {}, {}, {name: [] for name in (OURS, FLOAT32, BFLOAT16, FLAX)}
    for turn, name in itertools.product(range(args.pairs), samples):
        contender = held.get(name) or makers[name]()
        if not turn:
            rates[name], steps[name] = probe(contender, args.seconds)
        elif name in makers:
            contender.warm()
        if turn < 2 or steps[name] / rates[name] < 2 * args.seconds:  # the slow are sampled twice
            elapsed = seconds_of(contender, steps[name])
            samples[name].append(steps[name] * images * contender.runs / elapsed)
    one = dataclasses.replace(case, runs=1)
    alone = {OURS: lambda: Ours(one), FLAX: lambda: PlainFlax(one, chunk), **makers}
    return {
        "workload": case.workload,
        "batch": images,
        "runs": case.runs,
        "training_flops_per_image": case.flops,
        "mode": held[OURS].population.mode,
        "calibration": [{**dataclasses.asdict(c), "images_per_second": rate} for c, rate in grid],
        "contenders": {
            name: {
                "how": str(chosen.get(name, "")) or f"{case.runs} runs",
                "images_per_second": summary(values),
                "ours_is": summary([a / b for a, b in zip(samples[OURS], values, strict=False)]),
                "test_accuracy": accuracy(alone[name], args.accuracy_steps, images, statistics.median(values)),
            }
            for name, values in samples.items()
        },
    }


def accuracy(make, steps: int, images: int, rate: float) -> float | None:
    """Test accuracy of one run after `steps` steps; None where that would take too long."""
    if steps * images / rate > ACCURACY_SECONDS:
        return None
    contender = make()
    contender.train(steps)
    return contender.accuracy()


def summary(values: list[float]) -> dict:
    """Median, min, max, n, and the samples themselves."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values), "all": values}


def matmul_limit(sizes, seconds: float = 0.5) -> dict[str, float]:
    """Best GFLOP/s of float32 n x n products: one on all cores, and one a device on all devices at once."""
    mesh = sharding.run_mesh(len(jax.devices()), 0)
    rows = PartitionSpec(sharding.RUN_AXIS)
    each = jax.jit(jax.shard_map(lambda a, b: a @ b, mesh=mesh, in_specs=(rows, PartitionSpec()), out_specs=rows))
    found = {}
    for n in sizes:
        square, tall = np.ones((n, n), np.float32), np.ones((n * mesh.size, n), np.float32)
        spread = (jax.device_put(tall, sharding.over_runs(mesh)), jax.device_put(square, sharding.everywhere(mesh)))
        for name, product, arguments in (
            (f"{n}³, one product on all cores", jax.jit(lambda a, b: a @ b), jax.device_put((square, square))),
            (f"{n}³, one on each of {mesh.size} devices", each, spread),
        ):
            jax.block_until_ready(product(*arguments))
            times, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end:
                start = time.perf_counter()
                jax.block_until_ready(product(*arguments))
                times.append(time.perf_counter() - start)
            found[name] = 2e-9 * n**2 * len(arguments[0]) / min(times)
    return found


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
        rows.append({"model": changes, "forward_flops": flops, **medians, "vmap_over_map": ratio})
    rows.sort(key=lambda row: row["forward_flops"])
    table = Table(title=f"run-steps/s, {args.runs} runs, batch {args.batch[0]}", box=box.SIMPLE_HEAD)
    for heading in ("network", "forward flops", "map", "vmap", "vmap is", "the rule says"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        rule = "vmap" if row["forward_flops"] < population.VMAP_BELOW_FLOPS else "map"
        sizes = [*(f"conv {n}" for n in row["model"].get("filters", ())), *(str(n) for n in row["model"]["dense"])]
        numbers = [f"{row[key]:,.0f}" for key in ("forward_flops", "map", "vmap")]
        table.add_row(" – ".join(sizes), *numbers, times(row["vmap_over_map"]), rule)
    console.print(table)
    return rows


def times(ratio: dict) -> str:
    """1.31× (1.28–1.35)."""
    return f"{ratio['median']:.2f}× ({ratio['min']:.2f}–{ratio['max']:.2f})"
