"""The forms that are fast on a device: runs mapped or vmapped, and how their convolutions are computed."""

import os

import jax

from fmnist_jax import experiment, models
from fmnist_jax.errors import UserError

# On two AVX-512 cores a small MLP is up to 1.2 times as fast vmapped as mapped, a large one slower, and a CNN slower at
# any size (python -m benchmarks.throughput --crossover). On an accelerator a mapped run would leave the chip idle.
VMAP_BELOW_FLOPS = 200_000
# (mode, convolution) of an accelerator, by its `device_kind`, as `python -m benchmarks.gpu` measures them. It prints
# the line to add here. None has been had yet; an unknown one gets UNMEASURED: its products stay products when vmapped.
ON_ACCELERATORS: dict[str, tuple[str, str]] = {}
UNMEASURED = ("vmap", "patches")

# XLA's own level on a CPU is 3. At 2 a study's first start compiles for three quarters of the time, and small nets with
# augmentation train 1.45 times as fast, most others as fast (python -m benchmarks.startup, benchmarks.ideas).
LEVEL = "xla_backend_optimization_level"
LEVEL_ON_CPU = 2


def compiler_options(platform: str) -> dict[str, int] | None:
    """What XLA is asked for beside its own; nothing where JAX or XLA_FLAGS ask for something of the kind."""
    asked = jax.config.read("jax_disable_most_optimizations") or LEVEL in os.environ.get("XLA_FLAGS", "")
    return {LEVEL: LEVEL_ON_CPU} if platform == "cpu" and not asked else None


def choose_mode(mode: str, static: experiment.Static) -> str:
    """Returns "map" or "vmap": as asked, or by rule for the device and the model."""
    platform = jax.default_backend()
    if static.mesh > 1:
        if mode == "vmap":
            raise UserError(f"population.mode='vmap' with mesh={static.mesh}: take 'map', or mesh=1")
        return "map"  # a run after the other, each on all devices of its mesh
    if mode != "auto":
        return mode
    if platform != "cpu":
        return _on_accelerator()[0]
    small = models.forward_flops(static.model, static.image_shape) < VMAP_BELOW_FLOPS
    return "vmap" if small and not static.model.blocks else "map"


def choose_conv(method: str, platform: str, mode: str, mesh: int = 1) -> str:
    """One of convolution's methods: as asked, or by rule for the device and the mode, never by the runs of a group."""
    if method != "auto":
        return method
    if platform != "cpu":
        return _on_accelerator()[1]
    return "blocked" if mode != "vmap" and mesh == 1 else "patches"  # blocks of a batch are not spread with it


def _on_accelerator() -> tuple[str, str]:
    return ON_ACCELERATORS.get(jax.devices()[0].device_kind, UNMEASURED)
