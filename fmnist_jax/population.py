"""A group as one program: stacked runs, vmapped or mapped, spread over the devices of a mesh.

Every function takes and returns trees whose leaves have a leading run axis. The axis is padded to a multiple of the
device count by repeating the last run; what comes off the padding is dropped before anyone sees it.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from fmnist_jax import experiment, models, sharding, train

# On two AVX-512 cores a vmapped MLP is faster than a mapped one below this size of network, slower above
# (benchmarks/throughput.py --crossover). On an accelerator a mapped run would leave most of the chip idle.
VMAP_BELOW_FLOPS = 200_000


def choose_mode(mode: str, static: experiment.Static, platform: str) -> str:
    """ "map" or "vmap": as asked, or by rule for the device and the model."""
    if mode != "auto":
        return mode
    if platform != "cpu":
        return "vmap"
    return "vmap" if models.forward_flops(static.model, static.image_shape) < VMAP_BELOW_FLOPS else "map"


def choose_conv(method: str) -> str:
    """ "patches" or "lax": as asked, else patches, whose batched products also suit vmapped weights on accelerators."""
    return "patches" if method == "auto" else method


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the runs of a group read; on the devices."""

    seeds: Any  # [R] uint32
    hyper: Any  # leaves [R, ...]
    images: Any  # [N, H, W, C] uint8, one copy a device
    labels: Any  # [N] int32, one copy a device
    train: Any  # [R, n] int32
    train_size: Any  # [R] int32
    validation: Any  # [R, m] int32
    validation_size: Any  # [R] int32


class Population:
    """The compiled functions of one group of `runs` runs."""

    def __init__(self, static: experiment.Static, runs: int, mesh: Mesh, mode: str):
        self.static, self.runs, self.mesh, self.mode = static, runs, mesh, mode
        self.width = -(-runs // mesh.size) * mesh.size
        self.compile_seconds = 0.0
        run = train.make_train(static)
        self.init = self._batched(run.init, (0, 0))
        self._order = self._batched(run.order, (0, None, 0, 0))
        self._segment = self._batched(run.segment, (0, 0, None, None, 0, None))
        self._evaluate = self._batched(run.evaluate, (0, 0, None, None, 0, 0))
        self.close_segment = self._batched(train.close_segment, (0,))
        self._orders: tuple[int, Any] = (-1, None)
        self._compiled: dict[Any, Any] = {}

    def _batched(self, function, axes):
        """`function` over the run axis: arguments whose entry in `axes` is 0 have it, the others are shared."""

        def local(*args):
            if self.mode == "vmap":
                return jax.vmap(function, in_axes=axes)(*args)
            stacked = [a for a, axis in zip(args, axes, strict=True) if axis == 0]

            def one(stacked):
                own = iter(stacked)
                return function(*(next(own) if axis == 0 else a for a, axis in zip(args, axes, strict=True)))

            return lax.map(one, stacked)

        specs = tuple(PartitionSpec(sharding.RUN_AXIS) if axis == 0 else PartitionSpec() for axis in axes)
        return jax.jit(
            jax.shard_map(
                local, mesh=self.mesh, in_specs=specs, out_specs=PartitionSpec(sharding.RUN_AXIS), check_vma=False
            )
        )

    def put(self, tree):
        """A host tree with leading axis `runs`, padded and spread over the mesh."""

        def one(leaf):
            leaf = np.asarray(leaf)
            padding = np.repeat(leaf[-1:], self.width - len(leaf), axis=0)
            return jax.device_put(np.concatenate([leaf, padding]), sharding.over_runs(self.mesh))

        return jax.tree.map(one, tree)

    def get(self, tree):
        """The tree on the host as NumPy arrays, padding dropped."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[: self.runs], jax.device_get(tree))

    def share(self, array):
        """A host array copied to every device."""
        return jax.device_put(array, sharding.everywhere(self.mesh))

    def segment(self, state, inputs: Inputs, step: int, num_steps: int):
        """`num_steps` steps from `step` on; the range must stay within one epoch."""
        epoch = step // self.static.steps_per_epoch
        if (step + num_steps - 1) // self.static.steps_per_epoch != epoch:
            raise ValueError(f"steps {step}..{step + num_steps} cross an epoch")
        if self._orders[0] != epoch:
            order = self.call(self._order, inputs.seeds, np.int32(epoch), inputs.train, inputs.train_size)
            self._orders = (epoch, order)
        args = (state, inputs.hyper, inputs.images, inputs.labels, self._orders[1], np.int32(num_steps))
        return self.call(self._segment, *args)

    def evaluate(self, state, hyper, images, labels, indices, sizes):
        """Masked metric sums and predictions [R, m] of every run on its own indices."""
        return self.call(self._evaluate, state, hyper, images, labels, indices, sizes)

    def call(self, function, *args):
        """Calls a jitted function through its ahead-of-time executable, so that compile time is known apart."""
        key = (function, jax.tree.structure(args), *((jnp.shape(a), jnp.result_type(a)) for a in jax.tree.leaves(args)))
        if key not in self._compiled:
            start = time.perf_counter()
            self._compiled[key] = function.lower(*args).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[key](*args)
