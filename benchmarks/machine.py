"""The machine: what it is, and how fast it multiplies matrices."""

import datetime
import importlib.metadata
import platform
import sys
import time
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import data, sharding

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "matplotlib", "numpy")


def environment(dataset: data.Dataset) -> dict:
    """Where, when, with what and on what this was measured; ends the program where a rival is not installed."""
    try:
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    except importlib.metadata.PackageNotFoundError as missing:
        sys.exit(f"{missing.name} is not installed: pip install -r benchmarks/requirements.txt")
    return {
        "command": " ".join(["python -m benchmarks.throughput", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), **versions},
        "dataset": {"name": dataset.name, "synthetic": dataset.synthetic, "images": len(dataset.train_labels)},
    }


def hardware() -> dict:
    """The processor's name, and the cores that this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"cpu": (names or [platform.processor()])[0], "cores": sharding.cores()}


def matmul_limit(sizes, seconds: float) -> dict[str, float]:
    """Best GFLOP/s of float32 n x n products: one at a time, and one on each device at once."""
    product, found = jax.jit(lambda a, b: a @ b), {}
    for n in sizes:
        for devices in (jax.devices()[:1], jax.devices()):
            square = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
            held = [jax.device_put(square, device) for device in devices]
            jax.block_until_ready([product(a, a) for a in held])
            best, end = float("inf"), time.perf_counter() + seconds
            while time.perf_counter() < end:
                start = time.perf_counter()
                jax.block_until_ready([product(a, a) for a in held])
                best = min(best, time.perf_counter() - start)
            found[f"{n}³, {len(devices)} at once"] = 2e-9 * n**3 * len(devices) / best
    return found
