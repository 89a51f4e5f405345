"""A group of runs trained together: mapped or vmapped, spread over the devices.

Mapped, every run is the same compiled program of one run, dispatched for each run in turn on its device; so a run has
the same bits alone, among others, and on any number of devices, by construction. (One SPMD program over a mesh would
not do: XLA runs other passes for two partitions than for one, and last bits move.) Vmapped, the runs of a device are
one batched program, which fills an accelerator and suits networks too small to keep a core busy.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from fmnist_jax import experiment, models, train

# On two AVX-512 cores a small MLP is up to 1.2 times as fast vmapped as mapped, a large one slower, and a CNN slower at
# any size (python -m benchmarks.throughput --crossover). On an accelerator a mapped run would leave the chip idle.
VMAP_BELOW_FLOPS = 200_000


def choose_mode(mode: str, static: experiment.Static) -> str:
    """Returns "map" or "vmap": as asked, or by rule for the device and the model."""
    platform = jax.default_backend()
    if mode != "auto":
        return mode
    if platform != "cpu":
        return "vmap"
    small = models.forward_flops(static.model, static.image_shape) < VMAP_BELOW_FLOPS
    return "vmap" if small and not static.model.blocks else "map"


def choose_conv(method: str, platform: str) -> str:
    """One of layers.CONV_METHODS: as asked, or by rule for the device, never by the runs: no bits depend on those.

    On an accelerator "patches", whose products stay products when weights are vmapped (not measured there yet).
    """
    if method != "auto":
        return method
    return "blocked" if platform == "cpu" else "patches"


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """What belongs to the runs: one tree a unit, on the unit's device. A unit is a run (mapped) or a device's runs."""

    parts: list[Any]

    def map(self, function: Callable) -> "Units":
        """`function` of each unit's tree."""
        return Units([function(part) for part in self.parts])


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """What all runs read: one copy a device."""

    copies: dict[jax.Device, Any]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the runs of a group read."""

    seeds: Units  # [] uint32 a run
    hyper: Units  # experiment.Hyper a run
    images: Shared  # [N, H, W, C] uint8
    labels: Shared  # [N] int32
    train: Units  # [n] int32 a run
    train_size: Units  # [] int32 a run
    validation: Units  # [m] int32 a run
    validation_size: Units  # [] int32 a run


@functools.lru_cache(maxsize=8)
def _programs(static: experiment.Static, mode: str) -> tuple[train.Train, dict, dict]:
    """The functions of a run, as jitted for `mode`, and a place for what is compiled of them.

    Kept, because the parts of a group that was cut, and its test, are populations of their own with the same programs.
    """
    run = train.make_train(static)
    axes = {
        run.init: (0, 0),
        run.order: (0, None, 0, 0),
        run.segment: (0, 0, None, None, 0, None, None),
        run.evaluate: (0, 0, None, None, 0, 0),
        run.close: (0, 0, 0),
    }
    jitted = {
        function: jax.jit(function if mode == "map" else jax.vmap(function, in_axes=of_runs))
        for function, of_runs in axes.items()
    }
    return run, jitted, {}


def forget_programs() -> None:
    """As a new process would start: every program is traced again (and found in the compilation cache, if it is on)."""
    _programs.cache_clear()


class Population:
    """The programs of one group of `runs` runs on `devices`, compiled once each and timed apart."""

    def __init__(self, static: experiment.Static, runs: int, devices: Sequence[jax.Device], mode: str):
        self.static, self.runs, self.devices, self.mode = static, runs, list(devices), mode
        self.compile_seconds = 0.0
        if mode == "map":
            self.devices = self.devices[:runs]
            self.unit_devices = [self.devices[i % len(self.devices)] for i in range(runs)]
            self.width = None
        else:
            self.width = -(-runs // len(self.devices))  # runs of a device; the last one's are padded
            self.unit_devices = self.devices = self.devices[: -(-runs // self.width)]
        self._run, self._jitted, self._compiled = _programs(static, mode)
        self._order: tuple[int, Inputs | None, Units | None] = (-1, None, None)

    def put(self, tree) -> Units:
        """A host tree whose leaves have a leading axis of runs, on the devices."""
        if self.mode == "map":
            slices = [jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], tree) for i in range(self.runs)]
        else:
            index = np.minimum(np.arange(self.width * len(self.devices)), self.runs - 1)
            slices = [
                jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], tree) for i in np.split(index, len(self.devices))
            ]
        return Units([jax.device_put(part, device) for part, device in zip(slices, self.unit_devices, strict=True)])

    def get(self, units: Units):
        """The tree on the host, with a leading axis of runs; waits for it."""
        join = np.stack if self.mode == "map" else np.concatenate
        return jax.tree.map(lambda *leaves: join(leaves)[: self.runs], *jax.device_get(units.parts))

    def share(self, array) -> Shared:
        """A host array copied to every device."""
        return Shared({device: jax.device_put(array, device) for device in self.devices})

    def shapes(self, seeds, hyper):
        """The state as a host tree of empty arrays with a leading axis of runs; what `get` of a state looks like."""
        one = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf)[1:], np.asarray(leaf).dtype), (seeds, hyper)
        )
        state = jax.eval_shape(self._run.init, *one)
        return jax.tree.map(lambda leaf: np.empty((self.runs, *leaf.shape), leaf.dtype), state)

    def init(self, inputs: Inputs) -> Units:
        """The first state of every run."""
        return self._call(self._run.init, inputs.seeds, inputs.hyper)

    def segment(
        self, state: Units, inputs: Inputs, step: int, num_steps: int, stopped: Sequence[bool] | None = None
    ) -> Units:
        """`num_steps` steps from `step` on; the range must stay within one epoch. Returns without waiting.

        Units of runs that are all `stopped` are left as they are, for nothing; others see to it in their program.
        """
        epoch, start = divmod(step, self.static.steps_per_epoch)
        if start + num_steps > self.static.steps_per_epoch:
            raise ValueError(f"steps {step}..{step + num_steps} cross an epoch")
        if self._order[0] != epoch or self._order[1] is not inputs:
            order = self._call(self._run.order, inputs.seeds, np.int32(epoch), inputs.train, inputs.train_size)
            self._order = (epoch, inputs, order)
        data = (inputs.images, inputs.labels, self._order[2])
        idle = self._idle(stopped)
        trained = self._call(
            self._run.segment, state, inputs.hyper, *data, np.int32(start), np.int32(num_steps), skip=idle
        )
        return Units(
            [old if i in idle else new for i, (old, new) in enumerate(zip(state.parts, trained.parts, strict=True))]
        )

    def _idle(self, stopped: Sequence[bool] | None) -> set[int]:
        if stopped is None or not any(stopped):
            return set()
        width = self.width or 1
        return {i for i in range(len(self.unit_devices)) if all(stopped[i * width : (i + 1) * width])}

    def close_segment(self, state: Units, inputs: Inputs, validation: Units | None) -> Units:
        """The states as the next segment starts from them; `validation` sums where epochs are chosen by them."""
        none = state.map(lambda part: ())
        return self._call(self._run.close, state, inputs.hyper, validation if self.static.monitor else none)

    def evaluate(self, state: Units, hyper: Units, images: Shared, labels: Shared, indices: Units, sizes: Units):
        """Masked metric sums and predictions [m] of every run on its own indices, as two `Units`."""
        both = self._call(self._run.evaluate, state, hyper, images, labels, indices, sizes)
        return both.map(lambda part: part[0]), both.map(lambda part: part[1])

    def _call(self, function: Callable, *args, skip: Sequence[int] = ()) -> Units:
        results = []
        for i, device in enumerate(self.unit_devices):
            if i in skip:
                results.append(None)
                continue
            own = [
                a.parts[i] if isinstance(a, Units) else a.copies[device] if isinstance(a, Shared) else a for a in args
            ]
            shapes = tuple((np.shape(leaf), leaf.dtype) for leaf in jax.tree.leaves(own))
            if (function, device, shapes) not in self._compiled:
                self._compile(function, shapes, own)
            results.append(self._compiled[function, device, shapes](*own))
        return Units(results)

    def _compile(self, function: Callable, shapes, args) -> None:
        """Compiles for every device at once, a thread each: the first to need a program brings it to all."""
        start = time.perf_counter()

        def compile_on(device):
            sharding = jax.sharding.SingleDeviceSharding(device)
            abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype, sharding=sharding), args)
            return self._jitted[function].lower(*abstract).compile()

        first = compile_on(self.devices[0])  # traces; the others find the trace
        with ThreadPoolExecutor(len(self.devices)) as pool:
            programs = [first, *pool.map(compile_on, self.devices[1:])]
        self._compiled.update({(function, d, shapes): p for d, p in zip(self.devices, programs, strict=True)})
        self.compile_seconds += time.perf_counter() - start
