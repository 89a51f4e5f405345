"""Devices and the mesh over which runs are spread."""

import os

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fmnist_jax.errors import UserError

RUN_AXIS = "run"


def configure(platform: str) -> None:
    """Chooses the platform, and on a CPU one virtual device a core. Before JAX first looks for devices.

    Raises:
      UserError: there is no such accelerator.
    """
    if platform != "auto":
        jax.config.update("jax_platforms", {"gpu": "cuda,rocm"}.get(platform, platform))
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", cores())
    try:
        jax.devices()
    except RuntimeError:
        raise UserError(
            f"platform={platform!r}: JAX finds no such device here; take --config.platform=auto, or install jax for it"
        ) from None


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def run_mesh(runs: int, devices: int) -> Mesh:
    """A mesh of `devices` devices (0: all), but no more than there are runs.

    Raises:
      UserError: more devices asked for than there are.
    """
    there = jax.devices()
    if devices > len(there):
        raise UserError(f"population.devices={devices}: there are {len(there)}; take 0 for all")
    return Mesh(np.array(there[: min(devices or len(there), runs)]), (RUN_AXIS,))


def over_runs(mesh: Mesh) -> NamedSharding:
    """Leading axis split over the mesh."""
    return NamedSharding(mesh, PartitionSpec(RUN_AXIS))


def everywhere(mesh: Mesh) -> NamedSharding:
    """One copy a device."""
    return NamedSharding(mesh, PartitionSpec())
