"""Studies in processes of their own, as a user starts them, with their time and their peak of memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fmnist_jax.data import cache

ROOT = Path(__file__).parent.parent
# Between this process and the one that is measured: Linux books the peak of whoever starts a process to that process,
# and this one may hold more memory than the study that it measures. The launcher holds none.
LAUNCHER = """
import json, os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
json.dump({"status": os.waitstatus_to_exitcode(status), "peak": used.ru_maxrss * 1024}, open(sys.argv[1], "w"))
"""


class Child(NamedTuple):
    """What a process that has ended came to."""

    output: str  # stdout
    seconds: float  # from its start to its end
    peak: int  # bytes resident at most


def python(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
    """Runs this Python on `arguments` in the repository's root, with more environment.

    Raises:
      RuntimeError: it ended with another status than 0; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(report), sys.executable, *arguments]
        start = time.perf_counter()
        environ = {**os.environ, **(environment or {})}
        environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # the user's own; here it is where $XDG_CACHE_HOME says
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        found = json.loads(report.read_text()) if report.exists() else {"status": done.returncode, "peak": 0}
    if found["status"]:
        raise RuntimeError(f"{' '.join(arguments)[:200]}: status {found['status']}: {done.stderr.strip()[-500:]}")
    return Child(done.stdout, seconds, found["peak"])


def study(workload: str, workdir: Path, environment: Mapping[str, str] | None = None, **keys) -> Child:
    """Trains a study of benchmarks/workloads.py; dotted keys are given as `train__duration="20 steps"`."""
    given = [f"--config.{key.replace('__', '.')}={value}" for key, value in keys.items()]
    asked = [f"--config=benchmarks/workloads.py:{workload}", f"--workdir={workdir}", *given]
    return python(["-m", "fmnist_jax.main", *asked], environment)


def own_cache(directory: Path) -> dict[str, str]:
    """The environment of processes whose caches are in `directory` alone: compiled programs, and all else of XDG's."""
    there = Path(os.environ.get("FMNIST_DATA_DIR") or cache.root()).expanduser().resolve()
    return {"XDG_CACHE_HOME": str(directory), **({"FMNIST_DATA_DIR": str(there)} if there.is_dir() else {})}
