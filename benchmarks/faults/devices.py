"""An accelerator or devices asked for that are not there: refused in one line, and nothing is written."""

import functools
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax

from benchmarks.faults import row, subject
from benchmarks.faults.row import Row, Trial

# Flag, environment, what the line must name. Of an accelerator that is there the first of them are left out.
ASKED: tuple[tuple[str, Mapping[str, str], str], ...] = (
    ("--config.platform=gpu", {}, "platform='gpu'"),
    ("--config.platform=tpu", {}, "platform='tpu'"),
    ("--config.platform=gpu", {"JAX_PLATFORMS": "cpu"}, "platform='gpu'"),
    ("--config.platform=tpu", {"JAX_PLATFORMS": "cpu"}, "JAX_PLATFORMS=cpu"),
    ("--config.platform=auto", {"JAX_PLATFORMS": "tpu"}, "JAX_PLATFORMS=tpu"),
    ("--config.platform=auto", {"JAX_PLATFORMS": "nonsense"}, "JAX_PLATFORMS=nonsense"),
    ("--config.platform=auto", {"JAX_PLATFORMS": "cuda,tpu"}, "JAX_PLATFORMS=cuda,tpu"),
    ("--config.platform=quantum", {}, "platform='quantum'"),
    ("--config.population.devices=999", {}, "population.devices=999"),
    ("--config.mesh=998", {}, "mesh=998"),
)
SHORT = (1, 5, 8)  # of them


def measure(full: bool, scratch: Path) -> list[Row]:
    """One row."""
    fault, promise = (
        "an accelerator, or devices, that are not there",
        "refused in a line that names it; nothing written",
    )
    return [row.of(fault, promise, trials(full, scratch), at_once=2)]


def trials(full: bool, scratch: Path) -> Iterator[Callable[[], Trial]]:
    """A session each."""
    for i, (flag, environment, named) in enumerate(ASKED):
        if (full or i in SHORT) and (environment or not there(flag)):
            yield functools.partial(_refused, flag, environment, named, scratch / str(i))


def there(flag: str) -> bool:
    """Whether the flag asks for what this machine has."""
    platform = flag.partition("platform=")[2]
    try:
        return platform in ("gpu", "tpu") and bool(jax.devices(platform))
    except RuntimeError:
        return False


def _refused(flag: str, environment: Mapping[str, str], named: str, workdir: Path) -> Trial:
    given = " ".join([flag, *(f"{name}={value}" for name, value in environment.items())])
    command, environ = subject.command(workdir, "mapped", flag), {**os.environ, **environment}
    done = subprocess.run(
        command, cwd=subject.ROOT, env=environ, capture_output=True, text=True, timeout=subject.SECONDS
    )
    return Trial(given, problem(done.returncode, done.stderr, named, workdir))


def problem(status: int, said: str, named: str, workdir: Path) -> str:
    """What is wrong with a refusal."""
    lines = [line for line in said.splitlines() if line.strip()]
    if status != 2:
        return f"exit status {status}: {said[-300:]}"
    if len(lines) != 1 or named not in lines[0]:
        return f"does not name {named} in one line: {said[-300:]}"
    return f"has made {workdir}" if workdir.exists() else ""
