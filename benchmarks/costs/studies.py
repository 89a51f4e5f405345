"""The studies that the cost model is fitted to, and those that it has to predict: short, of different sizes.

`--config=benchmarks/costs/studies.py:cnn` is one of them. Those that are not `seen` differ from the others in width,
batch, number of runs and length. What is known of a study before it is trained is `facts`.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import ml_collections

from benchmarks import machine, workloads
from fmnist_jax import arms, config, experiment, forms, groups, memory, models, sharding, train


class Study(NamedTuple):
    """Arms, as many runs of each, and what the study's own keys are."""

    arms: tuple[Mapping, ...]
    seeds: int
    keys: Mapping = {}
    seen: bool = True


def _cnn(filters, dense: int, batch: int, steps: int, every: int) -> dict:
    return {"model.filters": filters, "model.norm": ("none",), **_common("cnn", dense, batch, steps, every)}


def _mlp(dense: int, batch: int, steps: int, every: int) -> dict:
    return _common("mlp", dense, batch, steps, every)


def _common(family: str, dense: int, batch: int, steps: int, every: int) -> dict:
    length = {"train.duration": f"{steps} steps", "train.eval_every": f"{every} steps"}
    return {"model.family": family, "model.dense": (dense,), "train.batch_size": batch, **length}


STUDIES = {
    "cnn": Study(
        (
            _cnn((8, 16), 32, 32, 1000, 500),
            _cnn((8, 16), 64, 16, 400, 40),
            _cnn((16, 32), 64, 64, 400, 200),
            _cnn((24, 48), 200, 16, 500, 100),
            _cnn((32, 64), 128, 32, 300, 300),
            _cnn((32, 64), 128, 128, 75, 25),
        ),
        seeds=4,
    ),
    "cnn_more": Study((_cnn((16, 32), 128, 32, 200, 50), _cnn((32, 32), 64, 64, 100, 100)), seeds=10),
    "mlp": Study(
        (
            _mlp(10, 32, 10_000, 5_000),
            _mlp(10, 128, 3_000, 300),
            _mlp(50, 32, 4_000, 1_000),
            _mlp(200, 32, 1_500, 500),
            _mlp(200, 128, 600, 600),
            _mlp(800, 32, 300, 50),
        ),
        seeds=16,
    ),
    "mlp_few": Study((_mlp(10, 16, 15_000, 3_000), _mlp(50, 64, 5_000, 1_000), _mlp(100, 32, 5_000, 5_000)), seeds=2),
    "mlp_many": Study((_mlp(20, 64, 1_500, 150), _mlp(100, 16, 1_000, 500)), seeds=64),
    "saves": Study((_mlp(800, 128, 20, 4), _mlp(200, 32, 200, 20)), seeds=32),
    "cnn_unseen": Study((_cnn((20, 40), 96, 48, 360, 60),), seeds=6, keys={"checkpoint.every": 2}, seen=False),
    "mlp_unseen": Study((_mlp(150, 96, 2_500, 500), _mlp(30, 48, 6_000, 1_000)), seeds=24, seen=False),
    "mixed_unseen": Study((_cnn((12, 24), 48, 96, 240, 120), _mlp(300, 24, 1_200, 400)), seeds=8, seen=False),
    # Of other sizes again, and measured when the terms were as they are: the three above have had a word in that.
    "later_unseen": Study((_cnn((28, 56), 80, 40, 320, 160), _mlp(400, 56, 900, 300)), seeds=12, seen=False),
}
TINY = {
    "tiny_cnn": Study((_cnn((4, 4), 8, 16, 4, 2), _cnn((4, 8), 8, 8, 6, 6)), seeds=2),
    "tiny_mlp": Study((_mlp(5, 16, 6, 3), _mlp(8, 8, 8, 2)), seeds=3),
    "tiny_unseen": Study((_mlp(6, 16, 10, 5),), seeds=2, seen=False),
}
LANES = {"avx512f": 16, "avx2": 8}  # flag of a processor -> float32 numbers that a core computes at once
# What the simulated fleet trains: the two networks of benchmarks/workloads.py, for as long as configs/ has them.
OF_THE_FLEET = {
    "cnn": {"train.duration": "3 epochs", "train.eval_every": "1 epochs"},
    "mlp": {"train.duration": "15000 steps", "train.eval_every": "1500 steps"},
}


def get_config(name: str) -> ml_collections.ConfigDict:
    """The config of one of STUDIES or TINY, the latter on drawn images. No page and no TensorBoard files are made."""
    study = {**STUDIES, **TINY}[name]
    made = config.default()
    made.platform = "cpu"
    made.writers.page = made.writers.tensorboard = False
    made.sweep, made.seeds = tuple(dict(arm) for arm in study.arms), study.seeds
    made.update_from_flattened_dict(study.keys)
    if name in TINY:
        made.dataset.name = "synthetic:240"
        made.evaluation.batch_size = 40
    return made


def facts(checked: config.Experiment) -> list[dict]:
    """What `cost_model` reads of a study's groups, in the order in which they are trained."""
    workshop, found = groups.Workshop(checked), []
    for prepared, runs in groups.divide(workshop, arms.arms_of(checked)):
        first = prepared[0]
        tested = len(workshop.dataset(first.source).test_labels) if checked.evaluation.test == "all" else 0
        own = _of_program(first.static, first.hyper)
        found.append(own | _of_runs(first, len(runs), checked) | {"tested": tested})
    return found


def of_fleet(tiny: bool = False) -> dict[str, dict]:
    """Workload -> the facts of one run of it."""
    found = {}
    for name, length in OF_THE_FLEET.items():
        made = workloads.get_config(f"{name}_tiny" if tiny else name)
        made.update_from_flattened_dict(length)
        found[name] = facts(config.parse(made))[0]
    return found


def _of_program(static: experiment.Static, hyper: experiment.Hyper) -> dict:
    model = _in_lanes(static.model)
    shapes = models.feature_shapes(model, static.image_shape)
    layers = sum(layer.units for layer in static.model.dense) + static.model.classes
    return {
        "family": static.model.family,
        "steps": static.total_steps,
        "batch": static.batch_size,
        "products": models.training_flops(model, static.image_shape),
        "looked_products": models.forward_flops(model, static.image_shape),
        "values": sum(math.prod(shape) for shape in shapes) + layers,
        "parameters": train.param_count(static, hyper),
        "state_bytes": memory.of_state(static, hyper),
        "evaluations": max(1, -(-static.total_steps // static.eval_every)),
    }


def _of_runs(prepared: groups.Prepared, runs: int, checked: config.Experiment) -> dict:
    static = prepared.static
    mode = forms.choose_mode(checked.population.mode, static)
    devices = len(sharding.slots_for(runs, checked.population.devices, static.mesh))
    evaluations = max(1, -(-static.total_steps // static.eval_every))
    return {
        "runs": runs,
        "mode": mode,
        "cache": _cache_bytes(),
        "devices": devices,
        "turns": runs / devices if mode == "map" else -(-runs // devices),  # mapped, they are dealt out evenly
        "checkpoints": -(-evaluations // checked.checkpoint.every),
        "looked_at": prepared.split.validation.shape[1],
    }


def _in_lanes(model: models.Spec) -> models.Spec:
    """As a core computes it: a convolution of 12 channels takes as long as one of 16, where it has 16 lanes."""
    lanes = next((n for flag, n in LANES.items() if flag in machine.hardware()["flags"]), 4)
    blocks = tuple(dataclasses.replace(one, filters=-(-one.filters // lanes) * lanes) for one in model.blocks)
    return dataclasses.replace(model, blocks=blocks)


def _cache_bytes() -> int:
    """A core's L2, where Linux tells."""
    found = re.fullmatch(r"(\d+)K", machine.hardware()["l2"])
    return 1024 * int(found[1]) if found else 2**20
