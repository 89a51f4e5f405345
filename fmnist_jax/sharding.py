"""Which devices there are, and which of them a group uses."""

import contextlib
import os

import jax

from fmnist_jax.data import cache
from fmnist_jax.errors import UserError


def keep_programs() -> None:
    """Compiled programs go to the user's cache and come from there, unless JAX has been given another."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and not jax.config.jax_compilation_cache_dir:
        with contextlib.suppress(OSError):  # without a cache, compiling takes its time, and that is all
            (cache.root() / "xla").mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(cache.root() / "xla"))
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
        raise UserError(
            f"platform={platform!r}: JAX finds no such device here; take --config.platform=auto, or install jax for it"
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
