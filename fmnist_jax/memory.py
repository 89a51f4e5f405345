"""How much memory a group takes, and how much there is: what cuts a large group into parts."""

import math
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import experiment, models, train

# A state that is read, the one that is written, and the host's copy while a checkpoint of it is saved.
STATES = 3
# Of every activation: the value, its gradient, and one of the two in another layout.
ACTIVATIONS = 3
# Of the training images: which they are, on the device and while they go there, in what order, and the validation's.
INDICES = 4
SHARE = 0.6  # of the machine's memory; the rest is the libraries', the data's and the neighbours'


def of_run(static: experiment.Static, hyper: experiment.Hyper) -> int:
    """Bytes of one run's states (weights, optimizer, kept weights) and of the indices of its images."""
    state = jax.eval_shape(train.make_train(static).init, jax.ShapeDtypeStruct((), np.uint32), hyper)
    states = STATES * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return states + INDICES * 4 * static.steps_per_epoch * static.batch_size


def of_step(static: experiment.Static) -> int:
    """Bytes that a step, or an evaluation, of one run works in."""
    features = sum(math.prod(shape) for shape in models.feature_shapes(static.model, static.image_shape))
    features += math.prod(static.image_shape) + sum(layer.units for layer in static.model.dense)
    return 4 * features * max(ACTIVATIONS * static.batch_size, 2 * static.eval_batch_size)


def of_group(static: experiment.Static, hyper: experiment.Hyper, runs: int, mode: str, devices: int) -> int:
    """Bytes of a group of `runs` runs, without the images. Mapped, each device has one run at work at a time."""
    at_work = min(devices, runs) if mode == "map" else runs
    return runs * of_run(static, hyper) + at_work * of_step(static)


def most_runs(static: experiment.Static, hyper: experiment.Hyper, mode: str, devices: int, limit: int) -> int:
    """The most runs that fit into `limit` bytes; at least one, which may still not fit."""
    one = of_run(static, hyper) + (0 if mode == "map" else of_step(static))
    shared = devices * of_step(static) if mode == "map" else 0
    return max(1, (limit - shared) // one)


def limit(gigabytes: float) -> int:
    """Bytes that a group may take: as asked for, or a share of the device's (on a CPU, the machine's) memory."""
    if gigabytes:
        return int(gigabytes * 1e9)
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(SHARE * stats.get("bytes_limit", _machine()))


def _machine() -> int:
    """Bytes of memory of this machine, or of this container."""
    total = 8 * 10**9
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    allowed = _read("/sys/fs/cgroup/memory.max").strip()
    return min(total, int(allowed)) if allowed.isdigit() else total


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
