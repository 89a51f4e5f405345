"""Which devices there are, and which of them a group uses."""

import contextlib
import os

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fmnist_jax.data import cache
from fmnist_jax.errors import UserError
from fmnist_jax.experiment import BATCH

Slot = jax.Device | NamedSharding  # one device, or a mesh of some, on each of which all is that is not of a batch


def keep_programs() -> None:
    """Compiled programs go to the user's cache and come from there, unless JAX has been given another."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and not jax.config.jax_compilation_cache_dir:
        there = cache.root() / "xla"
        with contextlib.suppress(OSError):  # without a cache, compiling takes its time, and that is all
            there.mkdir(parents=True, exist_ok=True)
            there.chmod(0o700)  # what is in it is run: nobody else may put something there
            jax.config.update("jax_compilation_cache_dir", str(there))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def configure(platform: str) -> None:
    """Chooses the platform, and on a CPU one virtual device a core. Before JAX first looks for devices.

    Raises:
      UserError: there is no such accelerator.
    """
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # in a notebook that has used JAX: the devices it has then
            jax.config.update("jax_num_cpu_devices", cores())
    try:
        jax.devices(None if platform == "auto" else platform)
    except (RuntimeError, AssertionError):
        named = os.environ.get("JAX_PLATFORMS")
        why = f" (JAX_PLATFORMS={named} names what it may look for)" if named else ""
        raise UserError(
            f"platform={platform!r}: JAX finds no such device here{why}; take --config.platform=auto, or install jax "
            "for it"
        ) from None


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def devices_for(runs: int, wanted: int) -> list[jax.Device]:
    """`wanted` local devices (0: all), but no more than there are runs.

    Raises:
      UserError: more devices wanted than there are.
    """
    there = jax.local_devices()
    if wanted > len(there):
        raise UserError(f"population.devices={wanted}: there are {len(there)}; take 0 for all")
    return there[: min(wanted or len(there), runs)]


def slots_for(runs: int, wanted: int, mesh: int) -> list[Slot]:
    """Where runs are trained: each on a device, or on a mesh of so many, over which its batches are spread.

    Raises:
      UserError: there are not so many devices.
    """
    if mesh == 1:
        return list(devices_for(runs, wanted))
    there = devices_for(10**9, wanted)
    if mesh > len(there):
        raise UserError(f"mesh={mesh}: there are {len(there)} devices; take {len(there)} or less")
    meshes = [Mesh(np.array(there[i : i + mesh]), (BATCH,)) for i in range(0, len(there) - mesh + 1, mesh)]
    return [NamedSharding(one, PartitionSpec()) for one in meshes[:runs]]


def platform_of(slot: Slot) -> str:
    """What kind of device it is, or has."""
    return (slot.mesh.devices[0] if isinstance(slot, NamedSharding) else slot).platform
