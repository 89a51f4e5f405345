"""How much memory a group and its images take, and how much there is: what cuts a group, and streams its images."""

import contextlib
import ctypes
import dataclasses
import gc
import math
import resource
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import experiment, models, train

# A state that is read, the one that is written, the host's copy while a checkpoint of it is saved, and Orbax's own on
# the way to the disk. Measured with benchmarks/memory.py: what a study of 64 runs holds more than one of a single run.
STATES = 6
SAVING = 30 * 10**6  # bytes of Orbax and TensorStore while a checkpoint is on its way, beside the state that it is of
# Of every activation: the value, its gradient, and one of the two in another layout.
ACTIVATIONS = 3
# Of the training images: which they are, on the device and while they go there, in what order, and the validation's.
INDICES = 4
IMAGES = 0.5  # of a group's memory, that images may take; where they would take more they are streamed
CHUNKS = 64 * 10**6  # bytes a device, of the chunks that are under way there
SHARE = 0.6  # of the machine's memory; the rest is the libraries', the data's and the neighbours'


def of_run(static: experiment.Static, hyper: experiment.Hyper) -> int:
    """Bytes of one run's states (weights, optimizer, kept weights) and of the indices of its images."""
    return STATES * of_state(static, hyper) + INDICES * 4 * static.steps_per_epoch * static.batch_size


def of_state(static: experiment.Static, hyper: experiment.Hyper) -> int:
    """Bytes of one run's state."""
    state = jax.eval_shape(train.make_train(static).init, jax.ShapeDtypeStruct((), np.uint32), hyper)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


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


@dataclasses.dataclass(frozen=True)
class Images:
    """How a data set's images get to the devices: all of them beforehand, or streamed in chunks."""

    bytes: int  # of the one copy in a memory
    devices: int  # that share the memory: a CPU's; each accelerator has its own
    limit: int
    choice: str  # config population.stream

    @property
    def streamed(self) -> bool:
        """Whether batches are read from the host's copy, or map, of the set when they are needed."""
        return self.choice == "always" or (self.choice == "auto" and self.bytes > IMAGES * self.limit)

    @property
    def chunks(self) -> int:
        """Bytes of a device's chunks."""
        return min(CHUNKS, self.limit // (8 * self.devices))

    @property
    def left(self) -> int:
        """Bytes that a group may take beside them. What fits whole is in the share that `limit` leaves out."""
        return self.limit - self.devices * self.chunks if self.streamed else self.limit

    def __str__(self) -> str:
        """Why they are streamed, or that they are."""
        if self.choice == "always":
            return "images are streamed: population.stream is 'always'"
        return f"images are streamed: {_gb(self.bytes)} would not fit into {_gb(IMAGES * self.limit)}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e9:.2g} GB"


def limit(gigabytes: float) -> int:
    """Bytes that a group may take: as asked for, or a share of the device's (on a CPU, the machine's) memory."""
    if gigabytes:
        return round(gigabytes * 1e9)
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(SHARE * stats.get("bytes_limit", _machine()))


def release() -> int:
    """Gives back what is no longer used, and returns the bytes that are left; 0 where the system does not say."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc keeps what was freed, until it is asked
        ctypes.CDLL(None).malloc_trim(0)
    pages = _read("/proc/self/statm").split()
    return int(pages[1]) * resource.getpagesize() if pages else 0


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
