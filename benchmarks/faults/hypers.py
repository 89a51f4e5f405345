"""NaN, infinity and 1e30 as any hyper-parameter of any run: that run diverges, or goes on with numbers, alone.

A config with such a value is refused; here they are put into a group's hyper-parameters behind its back.
"""

import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np
from rich.console import Console

from benchmarks.faults import config as faults
from benchmarks.faults import row, within
from benchmarks.faults.row import Row, Trial
from fmnist_jax import checkpoint, config, experiment, forms, programs, session, terminal
from fmnist_jax.data import Dataset, splits
from fmnist_jax.errors import UserError

RUNS = 3
SHAPE = (8, 8, 3)  # colours, for the augmentations that want them
IMAGES = 120
FLOATS = {"NaN": math.nan, "Inf": math.inf, "1e30": 1e30}
WHOLE = {"most": 2**31 - 1, "0": 0, "-1": -1}  # of whole numbers, which have no NaN
# Programs that between them read every hyper-parameter: name -> (keys of the config, what is tried in it; () is all).
PROGRAMS: dict[str, tuple[dict, tuple[str, ...]]] = {
    "adam": (
        {
            "model.activation": ("leaky_relu",),
            "model.kernel_init": "truncated_normal",
            "model.dropout": (0.1,),
            "loss.smoothing": 0.1,
            "augment.ops": (
                *("flip", "rotate", "shift", "brightness", "contrast", "saturation", "hue", "noise", "erase"),
            ),
            "optimizer.weight_decay": 1e-4,
            "optimizer.average": 0.9,
            "optimizer.bias_rate": 2.0,
            "schedule.name": "cosine",
            "schedule.warmup_epochs": 0.5,
            "schedule.final_fraction": 0.1,
        },
        (),
    ),
    "sgd": (
        {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "schedule.name": "step", "schedule.every_epochs": 1.0},
        ("optimizer.momentum", "schedule.factor", "schedule.every_epochs"),
    ),
    "rmsprop": (
        {"optimizer.name": "rmsprop", "schedule.name": "one_cycle"},
        ("optimizer.decay", "schedule.pct_start", "schedule.div_factor", "schedule.final_div_factor"),
    ),
    "adagrad": ({"optimizer.name": "adagrad"}, ("optimizer.initial_accumulator",)),
}


def measure(full: bool, scratch: Path) -> list[Row]:
    """A row a mode, and one of configs."""
    rows = []
    for mode in ("map", "vmap"):
        trials = _read_all(list(poisoned(mode, scratch / mode, full)), full)
        fault = f"NaN, Inf, 1e30 in a hyper-parameter of a run, {mode}ped"
        promise = "that run diverges, or goes on in numbers; the others keep every bit"
        rows.append(row.of(fault, promise, trials, kind=lambda trial: trial.name.rpartition(": ")[2]))
    promise = "refused before anything is written, naming the key"
    refused = row.of("NaN, Inf, 1e39 in a number of a config", promise, refusals(), kind=lambda t: t.name.split()[0])
    return [*rows, refused]


def _read_all(trials: list[Callable[[], Trial]], full: bool) -> Iterator[Callable[[], Trial]]:
    """The trials, and in full one more: that no hyper-parameter had no effect wherever it was tried."""
    effects: dict[str, set[bool]] = {}

    def made(work: Callable[[], Trial]) -> Trial:
        trial = work()
        leaf = trial.name.partition(" in ")[2].partition(" of run ")[0]
        effects.setdefault(leaf, set()).add(trial.name.endswith("no effect"))
        return trial

    def unread() -> Trial:
        found = sorted(leaf for leaf, silent in effects.items() if silent == {True})
        return Trial("every one is read: done", f"no program reads {', '.join(found)}" if found else "")

    yield from (functools.partial(made, work) for work in trials)
    if full:
        yield unread


class Group:
    """Runs of one of PROGRAMS, to be trained again and again."""

    def __init__(self, program: str, mode: str, place: Path):
        self.place, changes = place, PROGRAMS[program][0]
        asked = faults.get_config("vmapped" if mode == "vmap" else "mapped")
        with asked.unlocked():
            asked.update_from_flattened_dict(changes)
            asked.train.duration, asked.train.eval_every = "3 epochs", "1 epochs"
            asked.checkpoint.every = 3
            asked.checkpoint.keep = 2
        self.checked = config.parse(asked)
        self.dataset = images()
        split = splits.stack([splits.validation_split(self.dataset.train_labels, 0.2, 0)])
        conv = forms.choose_conv("auto", jax.default_backend(), mode)
        static, hyper = experiment.resolve(self.checked, SHAPE, 10, int(split.train_size[0]), conv)
        stacked = jax.tree.map(lambda leaf: np.stack([leaf] * RUNS), hyper)
        runs = tuple(programs.Run("base", seed, 0) for seed in range(RUNS))
        self.group = programs.Group("0", static, runs, stacked, split, self.checked.dataset)

    @functools.cached_property
    def whole(self) -> tuple[list[list[dict]], list[dict], list[bytes]]:
        """What undisturbed runs come to."""
        found = self.trained(self.group.hyper)
        if any(result["diverged_at"] is not None for result in found[1]):
            raise RuntimeError(f"{self.place}: a run of the undisturbed group diverges")
        return found

    def trained(self, hyper) -> tuple[list[list[dict]], list[dict], list[bytes]]:
        """The rows, the result and the state of every run."""
        shutil.rmtree(self.place, ignore_errors=True)
        group = dataclasses.replace(self.group, hyper=hyper)
        live = terminal.Live(Console(quiet=True), "faults", ["base"])
        self.place.parent.mkdir(parents=True, exist_ok=True)
        session.train_group(group, self.dataset, self.place, self.checked, live)
        rows = [json.loads(line) for line in (self.place / "metrics.jsonl").read_text().splitlines()]
        results = json.loads((self.place / "done.json").read_text())["results"]
        shapes = programs.population_of(group.static, RUNS, self.checked).shapes(programs.seeds_of(group), hyper)
        _, state = checkpoint.Checkpoints(self.place / "checkpoints", 2).restore(shapes)
        states = [within.bits(jax.tree.map(lambda leaf, i=i: leaf[i], state)) for i in range(RUNS)]
        return [[one for one in rows if one["seed"] == i] for i in range(RUNS)], results, states

    def trial(self, name: str, leaf: str, at: tuple, run: int, value) -> Trial:
        """One number of one run changed."""

        def change(path, values):
            if named(path) != leaf:
                return values
            changed = values.copy()
            changed[run, *at] = value
            return changed

        found = self.trained(jax.tree_util.tree_map_with_path(change, self.group.hyper))
        for other in {*range(RUNS)} - {run}:
            for got, wanted, what in zip(found, self.whole, ("rows", "result", "state"), strict=True):
                if got[other] != wanted[other]:
                    return Trial(f"{name}: another run changed", f"the {what} of run {other} are others")
        outcome = self.outcome(*(part[run] for part in found), run)
        silent = outcome == "reported fine"
        return Trial(f"{name}: {outcome}", "a loss that is no number is reported fine" if silent else "")

    def outcome(self, rows: list[dict], result: dict, state: bytes, run: int) -> str:
        """What became of the run that was changed."""
        if result["diverged_at"] is not None:
            return "diverged"
        if (rows, result, state) == tuple(part[run] for part in self.whole):
            return "no effect"
        losses = [one[name] for one in (*rows, result) for name in one if name.endswith(("loss", "accuracy"))]
        return "reported fine" if None in losses else "went on in numbers"


def named(path: tuple) -> str:
    """A leaf of experiment.Hyper: optimizer.b1."""
    return ".".join(key.name for key in path)


def images() -> Dataset:
    """Random colours of ten classes that can be told apart."""
    rng = np.random.default_rng(0)
    labels = (np.arange(IMAGES) % 10).astype(np.int32)
    pixels = rng.integers(0, 128, (10, *SHAPE))[labels] + rng.integers(0, 128, (IMAGES, *SHAPE))
    arrays = [pixels.astype(np.uint8), labels] * 2
    return Dataset("noise", *arrays, class_names=tuple("0123456789"), fingerprint="0", synthetic=True)


def poisoned(mode: str, place: Path, full: bool) -> Iterator[Callable[[], Trial]]:
    """In full every value of every number of every run; in short some of them, in a program that compiles quickly."""
    turn = 0
    for program, tried in [(name, of) for name, (_, of) in PROGRAMS.items()] if full else [("adagrad", ())]:
        group = Group(program, mode, place / program)
        for path, leaf in jax.tree_util.tree_leaves_with_path(group.group.hyper):
            name = named(path)
            if tried and name not in tried:
                continue
            values = WHOLE if np.issubdtype(leaf.dtype, np.integer) else FLOATS
            every = [
                (f"{said} in {name}{list(at) or ''} of run {run}, {program}", name, at, run, value)
                for at in np.ndindex(leaf.shape[1:])
                for run in range(RUNS)
                for said, value in values.items()
            ]
            turn += 1
            for one in every if full else [every[4 * turn % len(every)]][: turn % 2]:
                yield functools.partial(group.trial, *one)


def refusals() -> Iterator[Callable[[], Trial]]:
    """Every number of a config, and every tuple of numbers."""
    defaults = config.flatten(config.Experiment())
    tuples = ("model.dropout", "model.dense_dropout")
    for key in [*(key for key, value in defaults.items() if isinstance(value, float)), *tuples]:
        for said, value in {"NaN": math.nan, "Inf": math.inf, "-Inf": -math.inf, "1e39": 1e39}.items():
            yield functools.partial(_refused, f"{said} as {key}", {key: (value,) if key in tuples else value}, key)


def _refused(name: str, changes: Mapping, key: str) -> Trial:
    asked: ml_collections.ConfigDict = config.default()
    asked.update_from_flattened_dict(dict(changes))
    try:
        config.parse(asked)
    except UserError as error:
        return Trial(name, "" if str(error).startswith(f"{key}=") else f"says {error}")
    return Trial(name, "accepted")
