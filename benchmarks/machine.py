"""The machine: what it is, how fast it multiplies matrices, and how fast it reads and writes memory."""

import os
import platform
import re
import time
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import sharding

# What decides how fast float32 and bfloat16 products can be.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
SIZES = (512, 1024, 2048)  # of the squares that are multiplied
TRIAD_BYTES = 256 * 2**20  # an array a device; three of them are past any cache of one core


def hardware() -> dict:
    """The processor: its name, instruction sets and L2, the cores this process may use, and the memory there is."""
    info = _read("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    flags = set(" ".join(re.findall(r"^flags\s*:\s*(.*)$", info, re.MULTILINE)[:1]).split())
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "cpu": (names or [platform.processor()])[0],
        "cores": sharding.cores(),
        "l2": _read("/sys/devices/system/cpu/cpu0/cache/index2/size").strip() or "unknown",
        "flags": [name for name in FLAGS if name in flags],
        "memory_gb": round(int(memory[1]) / 2**20, 1) if memory else None,
    }


def load_average() -> list[float] | None:
    """Runnable processes over the last 1, 5 and 15 minutes: whether others were at work."""
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def limits(smoke: bool, seconds: float = 0.5) -> dict:
    """What the machine can do now: {"matmul_gflops": {"512³, 1 at once": ...}, "bandwidth_gbs": {"1 at once": ...}}."""
    return {
        "matmul_gflops": matmul_limit((64,) if smoke else SIZES, seconds),
        "bandwidth_gbs": bandwidth(2**20 if smoke else TRIAD_BYTES, seconds),
    }


def matmul_limit(sizes, seconds: float) -> dict[str, float]:
    """Best GFLOP/s of float32 n x n products: one at a time, and one on each device at once."""
    product, found = jax.jit(lambda a, b: a @ b), {}
    for n in sizes:
        square = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
        for devices in _one_and_all():
            held = [jax.device_put(square, device) for device in devices]
            took = _shortest(lambda held=held: [product(a, a) for a in held], seconds)
            found[f"{n}³, {len(devices)} at once"] = 2e-9 * n**3 * len(devices) / took
    return found


def bandwidth(size: int, seconds: float) -> dict[str, float]:
    """Best GB/s of STREAM's triad a = b + 2.5 c on float32 arrays of `size` bytes: on one device, and on all at once.

    Two arrays are read and one is written; that a core may read a line before it writes it is not counted (McCalpin
    1995, as STREAM counts).
    """
    triad, found = jax.jit(lambda b, c: b + np.float32(2.5) * c), {}
    array = np.ones(size // 4, np.float32)
    for devices in _one_and_all():
        held = [(jax.device_put(array, device), jax.device_put(array + 1, device)) for device in devices]
        took = _shortest(lambda held=held: [triad(*pair) for pair in held], seconds)
        found[f"{len(devices)} at once"] = 1e-9 * 3 * size * len(devices) / took
    return found


def _one_and_all() -> list[list[jax.Device]]:
    return [jax.devices()[:1], *([jax.devices()] if len(jax.devices()) > 1 else [])]


def _shortest(work, seconds: float) -> float:
    """The shortest of the calls that fit into so many seconds, the first (which compiles) apart; at least one."""
    jax.block_until_ready(work())
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(work())
        best = min(best, time.perf_counter() - start)
    return best


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
