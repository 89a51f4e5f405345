"""A group of runs trained together: mapped or vmapped, spread over the devices.

Mapped, every run is the same compiled program of one run, dispatched for each run in turn on its device; so a run has
the same bits alone, among others, and on any number of devices, by construction. (One SPMD program over a mesh would
not do: XLA runs other passes for two partitions than for one, and last bits move.) Vmapped, the runs of a device are
one batched program, which fills an accelerator and suits networks too small to keep a core busy.

Where a run has a mesh of devices (config mesh), its program is one over all of them: each has a part of every batch,
and all of the rest. What is said of a device is then said of a mesh, and bits hold for as many devices alone.
"""

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, SingleDeviceSharding

from fmnist_jax import experiment, forms, sharding, streaming, train
from fmnist_jax.streaming import Streamed


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """What belongs to the runs: one tree a unit, on a device. A unit is a run (mapped) or a device's runs."""

    parts: list[Any]

    def map(self, function: Callable) -> "Units":
        """`function` of each unit's tree."""
        return Units([function(part) for part in self.parts])


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """What all runs read, by device; in one memory, the same array."""

    copies: dict[sharding.Slot, Any]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the runs of a group read."""

    seeds: Units  # [] uint32 a run
    hyper: Units  # experiment.Hyper a run
    images: Shared | Streamed  # [N, H, W, C] uint8
    labels: Shared | Streamed  # [N] int32, where the images are
    train: Units  # [n] int32 a run
    train_size: Units  # [] int32 a run
    validation: Units  # [m] int32 a run
    validation_size: Units  # [] int32 a run


@functools.lru_cache(maxsize=8)
def _programs(static: experiment.Static, mode: str) -> tuple[train.Train, dict, dict]:
    """The functions of a run, and places for what is jitted of them for `mode`, and for what is compiled.

    Kept, because the parts of a group that was cut, and its test, are populations of their own with the same programs.
    """
    return train.make_train(static), {}, {}


def forget_programs() -> None:
    """As a new process would start: every program is traced again (and found in the compilation cache, if it is on)."""
    _programs.cache_clear()


def _on(device: sharding.Slot, tree):
    """The tree on a device; what the host has stays there."""
    leaf = next((leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)), None)
    return tree if leaf is None or leaf.device == device else jax.device_put(tree, device)


class Population:
    """The programs of one group of `runs` runs on `devices`, compiled once each and timed apart."""

    def __init__(self, static: experiment.Static, runs: int, devices: Sequence[sharding.Slot], mode: str):
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
        self._rows: tuple[int, Inputs | None, list[np.ndarray]] = (-1, None, [])  # the same on the host
        self._feeds = {device: streaming.Feed(device) for device in self.devices}

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
        """A host array on every device: one copy for all that share the host's memory, else one each."""
        array = np.asarray(array)
        if sharding.platform_of(self.devices[0]) == "cpu":
            own = streaming.aligned(array.nbytes).view(array.dtype).reshape(array.shape)
            own[...] = array  # nobody else has it: a device may read it where it lies
            array = own
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
        idle = self._idle(stopped)
        if isinstance(inputs.images, Streamed):
            return self._stream_segment(state, inputs, epoch, start, num_steps, idle)
        self._take_turns()
        data = (inputs.images, inputs.labels, self._order_of(inputs, epoch))
        trained = self._call(
            self._run.segment, state, inputs.hyper, *data, np.int32(start), np.int32(num_steps), skip=idle
        )
        return Units(
            [old if i in idle else new for i, (old, new) in enumerate(zip(state.parts, trained.parts, strict=True))]
        )

    def _order_of(self, inputs: Inputs, epoch: int) -> Units:
        if self._order[0] != epoch or self._order[1] is not inputs:
            order = self._call(self._run.order, inputs.seeds, np.int32(epoch), inputs.train, inputs.train_size)
            self._order = (epoch, inputs, order)
        return self._order[2]

    def _rows_of(self, inputs: Inputs, epoch: int) -> list[np.ndarray]:
        """The order of an epoch, of each unit, on the host."""
        if self._rows[0] != epoch or self._rows[1] is not inputs:
            self._rows = (epoch, inputs, jax.device_get(self._order_of(inputs, epoch).parts))
            if (epoch + 1) * self.static.steps_per_epoch < self.static.total_steps:
                self._order_of(inputs, epoch + 1)  # drawn now, it will not have to wait for this epoch's steps
        return self._rows[2]

    def _stream_segment(self, state: Units, inputs: Inputs, epoch: int, start: int, num_steps: int, idle) -> Units:
        """`segment`, a chunk of steps after the other: the same program, whose images are the chunk's, in order."""
        batch, parts, rows = self.static.batch_size, list(state.parts), self._rows_of(inputs, epoch)
        room = inputs.images.rows_in() // (self.width or 1) // batch
        steps = min(max(1, room), self.static.steps_per_epoch)
        # A step more than there are images for: of the whole of it XLA would make no slice, and perhaps other bits.
        chosen = np.arange((steps + 1) * batch, dtype=np.int32)
        queues = [
            [(unit, *block) for unit in units if unit not in idle for block in streaming.blocks(num_steps, steps)]
            for units in self._units_of_devices()
        ]
        for unit, first, end in streaming.in_turn(queues):
            feed = self._feeds[self.unit_devices[unit]]
            own = rows[unit][..., (start + first) * batch : (start + end) * batch]
            shape = (*own.shape[:-1], steps * batch)
            chunk = feed.send(inputs.images.array, inputs.labels.array, own, shape)
            args = (parts[unit], inputs.hyper.parts[unit], *chunk, chosen, np.int32(0), np.int32(end - first))
            parts[unit] = self._dispatch(unit, self._run.segment, args, (0, 0, 0, 0, None, None, None))
            feed.read_by(parts[unit].step)
        return Units(parts)

    def _units_of_devices(self) -> list[list[int]]:
        return [[i for i, own in enumerate(self.unit_devices) if own == device] for device in self.devices]

    def _idle(self, stopped: Sequence[bool] | None) -> set[int]:
        if stopped is None or not any(stopped):
            return set()
        width = self.width or 1
        return {i for i in range(len(self.unit_devices)) if all(stopped[i * width : (i + 1) * width])}

    def close_segment(self, state: Units, inputs: Inputs, validation: Units | None) -> Units:
        """The states as the next segment starts from them; `validation` sums where epochs are chosen by them."""
        none = state.map(lambda part: ())
        return self._call(self._run.close, state, inputs.hyper, validation if self.static.monitor else none)

    def evaluate(
        self,
        state: Units,
        hyper: Units,
        images: Shared | Streamed,
        labels: Shared | Streamed,
        indices: Units,
        sizes: Units,
    ) -> tuple[Units, Units]:
        """Masked metric sums and predictions [m] of every run on its own indices."""
        if isinstance(images, Streamed):
            both = self._stream_evaluate(state, hyper, images, labels, indices, sizes)
        else:
            self._take_turns()
            both = self._call(self._run.evaluate, state, hyper, images, labels, indices, sizes)
        return both.map(lambda part: part[0]), both.map(lambda part: part[1])

    def activities(self, state: Units, hyper: Units, images: Shared) -> Units:
        """What every run's last two layers give for images [B, H, W, C]: {"features", "logits": [B, units]}."""
        return self._call(self._run.activities, state, hyper, images)

    def _stream_evaluate(self, state, hyper, images: Streamed, labels: Streamed, indices: Units, sizes: Units) -> Units:
        """A block of batches after the other, the sums in the same order; runs with the same indices share a block."""
        rows = jax.device_get(indices.parts)
        alike = self.width is None or all((part == part[0]).all() for part in rows)
        if self.width and alike:
            rows = [part[0] for part in rows]
        length = rows[0].shape[-1]
        batch = min(self.static.eval_batch_size, length)
        batches = -(-length // batch)
        room = max(1, images.rows_in() // (1 if alike else self.width) // batch)
        each = -(-batches // -(-batches // room))  # as few blocks as there is room for, of about one size
        axes = (0, 0, *((None, None) if alike else (0, 0)), None, 0)
        whole = each == batches
        if whole:
            results, size = [None] * len(rows), length
            chosen = np.arange(length, dtype=np.int32)
        else:
            results, size = self._call(self._run.tally, indices).parts, each * batch
            chosen = np.arange(size + batch, dtype=np.int32)  # a batch more, as in _stream_segment

        for units, first, end in streaming.in_turn(self._lots(rows, streaming.blocks(batches, each))):
            feed = self._feeds[self.unit_devices[units[0]]]
            own = rows[units[0]][..., first * batch : end * batch]
            chunk = feed.send(images.array, labels.array, own, (*own.shape[:-1], size))
            for unit in units:
                args = (state.parts[unit], hyper.parts[unit], *chunk, chosen, sizes.parts[unit])
                if whole:
                    results[unit] = self._dispatch(unit, self._run.evaluate, args, axes)
                else:
                    args = (*args, results[unit], np.int32(first), np.int32(end - first))
                    results[unit] = self._dispatch(unit, self._run.evaluate_more, args, (*axes, 0, None, None))
            feed.read_by([results[unit] for unit in units])
        return Units(results)

    def _lots(self, rows: Sequence[np.ndarray], blocks: Iterable) -> list[list[tuple]]:
        """(units with the same rows, a block of those), all that there are of each device."""
        blocks, queues = list(blocks), []
        for units in self._units_of_devices():
            lots: dict[bytes, list[int]] = {}
            for unit in units:
                lots.setdefault(rows[unit].tobytes(), []).append(unit)
            queues.append([(lot, *block) for lot in lots.values() for block in blocks])
        return queues

    def sources(self) -> dict[str, str]:
        """Operations of the compiled programs -> what they were traced from, as far as XLA still knows."""
        found = {}
        for program in self._compiled.values():
            for name, source in re.findall(r"%([\w.-]+) = .*?op_name=\"([^\"]*)\"", program.as_text()):
                found[name] = re.sub(r"\b(while/body|while|closed_call|jit\(\w+\)|vmap\(\))/", "", source)
        return found

    def _take_turns(self) -> None:
        """The next device for every mapped run, where they do not divide: none has one run more to do for good.

        With two calls under way no device waits: 5 runs take two devices 2.5 times as long as one, not 3 times.
        """
        if self.mode == "map" and self.runs % len(self.devices):
            following = dict(zip(self.devices, [*self.devices[1:], self.devices[0]], strict=True))
            self.unit_devices = [following[device] for device in self.unit_devices]

    def _call(self, function: Callable, *args, skip: Sequence[int] = ()) -> Units:
        axes = tuple(0 if isinstance(a, Units) else None for a in args)
        results = []
        for i, device in enumerate(self.unit_devices):
            if i in skip:
                results.append(None)
                continue
            own = [
                a.parts[i] if isinstance(a, Units) else a.copies[device] if isinstance(a, Shared) else a for a in args
            ]
            results.append(self._dispatch(i, function, own, axes))
        return Units(results)

    def _dispatch(self, unit: int, function: Callable, args: Sequence, axes: tuple[int | None, ...]):
        """Starts `function` of a unit's own arguments on its device; `axes` say which of them have one of runs."""
        device = self.unit_devices[unit]
        args = [_on(device, arg) for arg in args]
        shapes = tuple((np.shape(leaf), leaf.dtype) for leaf in jax.tree.leaves(args))
        if (function, axes, device, shapes) not in self._compiled:
            self._compile(function, axes, shapes, args)
        return self._compiled[function, axes, device, shapes](*args)

    def _compile(self, function: Callable, axes, shapes, args) -> None:
        """Compiles for every device at once, a thread each: the first to need a program brings it to all."""
        start = time.perf_counter()
        if (function, axes) not in self._jitted:
            of_unit = function if self.mode == "map" else jax.vmap(function, in_axes=axes)
            self._jitted[function, axes] = of_unit, jax.jit(of_unit)
        of_unit, jitted = self._jitted[function, axes]

        options = forms.compiler_options(sharding.platform_of(self.devices[0]))

        def compile_on(device):
            meshed = isinstance(device, NamedSharding)
            place = device if meshed else SingleDeviceSharding(device)
            abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype, sharding=place), args)
            if not meshed:
                return jitted.lower(*abstract).compile(options)
            with jax.set_mesh(device.mesh):
                return jax.jit(of_unit, out_shardings=device).lower(*abstract).compile(options)

        first = compile_on(self.devices[0])  # traces; the others find the trace
        with ThreadPoolExecutor(len(self.devices)) as pool:
            programs = [first, *pool.map(compile_on, self.devices[1:])]
        self._compiled.update({(function, axes, d, shapes): p for d, p in zip(self.devices, programs, strict=True)})
        self.compile_seconds += time.perf_counter() - start
