"""A study's directory: one process at a time, or several that say so; one config for ever."""

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import jax

from fmnist_jax import leases, writers
from fmnist_jax.config import Experiment, flatten
from fmnist_jax.errors import StorageError, UserError

# They move last bits of the runs that go on under other values, and nothing else: --allow-config-change.
ROUNDING = ("population.mode", "population.conv", "evaluation.batch_size", "mesh")
FINGERPRINT = "dataset.fingerprint"  # the key of config.json that no config has: data set -> hash of its content
PACKAGES = (
    "fmnist-jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "ml-collections",
    "dm-pix",
    "scipy",
    "statsmodels",
    "scikit-learn",
    "optuna",
    "pandas",
    "pyarrow",
    "pillow",
    "safetensors",
    "tensorflow-datasets",
)


@contextlib.contextmanager
def lock(workdir: Path, shared: bool = False):
    """Holds the workdir, or its share; the kernel lets go of it when the process ends, however it ends.

    Raises:
      UserError: another process has it, named; or it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / "lock", "a+")  # noqa: SIM115 -- closed below; held for the whole study
    except OSError as error:
        raise UserError(f"workdir {workdir}: {error.strerror.lower()}; choose another with --workdir=DIR") from None
    with file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"workdir {workdir}: in use by {_holder(file) or 'another process'}; wait for it, or stop it"
            ) from None
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}{', which shares it' * shared}\n")
            file.flush()
        except OSError as error:
            raise StorageError(f"workdir {workdir}: {error.strerror.lower()}") from None
        try:
            yield
        finally:
            if not shared:
                with contextlib.suppress(OSError):  # of a full disk
                    file.truncate(0)


def _holder(file) -> str:
    """Who has the lock, by name. One that has just taken it gets time to put its own over that of one that is dead."""
    for _ in range(20):
        time.sleep(0.1)
        file.seek(0)
        name = file.read().strip()
        found = re.match(r"process (\d+) on (.*?)(,|$)", name)
        if found and not (found[2] == socket.gethostname() and leases.ended(int(found[1]))):
            return name
    return ""


_TURNS: set[Path] = set()  # that this process holds


@contextlib.contextmanager
def turn(workdir: Path):
    """Waits for, and holds, what only one of the processes that share a workdir may do at a time; also within it."""
    if workdir in _TURNS:
        yield
        return
    with open(workdir / "turn", "a") as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.1)  # and not within flock, where no signal would be seen
        _TURNS.add(workdir)
        try:
            yield
        finally:
            _TURNS.discard(workdir)


def claim(
    workdir: Path, config: dict, fingerprints: dict[str, str], shared: bool = False, allow_change: bool = False
) -> list[str]:
    """Writes config.json (flat: dotted key -> value), or holds the one of a study that has begun against it.

    Before there is a checkpoint a config may be corrected; then the groups that were made of it go.

    Args:
      fingerprints: data set -> hash of its content; those of a study that is extended join those that are there.
      shared: other processes may be at work on its groups; then a config is not corrected any more.
      allow_change: of the keys in ROUNDING, once it has begun; changes.jsonl says when, and from what to what.

    Returns:
      what of those has changed, a line each.

    Raises:
      UserError: the workdir holds results of another config; says which keys differ.
    """
    path, key = workdir / "config.json", FINGERPRINT
    there = writers.read_json(path) if path.exists() else {}
    known, changed = there.get(key, {}), []
    if (shared and there) or begun(workdir):
        common = {name: value for name, value in known.items() if name in fingerprints}
        own = {name: value for name, value in fingerprints.items() if name in known}
        changed = _compare(workdir, {**there, key: common}, {**config, key: own}, allow_change)
        fingerprints = known | fingerprints
    elif _differing(there, config):
        shutil.rmtree(workdir / "groups", ignore_errors=True)
    if changed:
        log = workdir / "changes.jsonl"
        before = log.read_text() if log.exists() else ""
        values = {k: [there.get(k), config[k]] for k in changed}
        change = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "changed": values})
        writers.write_atomically(log, f"{before}{change}\n")
    writers.write_json(path, {**config, key: fingerprints})
    return [f"{k} was {there.get(k)!r}, is {config[k]!r}" for k in changed]


def begun(workdir: Path) -> bool:
    """Whether there are results that bind it to its config."""
    names = ("checkpoints/*.manifest.json", "checkpoints/set_aside/*", "metrics.jsonl", "done.json")
    there = (path for name in names for path in workdir.glob(f"groups/*/{name}"))
    return any(path.is_dir() or path.stat().st_size for path in there)


def check_same(workdir: Path, config: dict, allow_change: bool = False) -> None:
    """Holds the keys of `config` against config.json.

    Raises:
      UserError: they differ; says how.
    """
    _compare(workdir, writers.read_json(workdir / "config.json"), config, allow_change)


def check_joins(workdir: Path, other: Path) -> None:
    """Holds the config of another workdir against this one's, and what both know of data sets.

    Raises:
      UserError: they differ; says how.
    """
    there, config = (writers.read_json(one / "config.json") for one in (workdir, other))
    known, own = there.pop(FINGERPRINT, {}), config.pop(FINGERPRINT, {})
    _compare(workdir, there, config)
    if differ := [name for name in known.keys() & own.keys() if known[name] != own[name]]:
        raise UserError(f"workdir {workdir} and {other} are of different images that are both called {differ[0]}")


def _compare(workdir: Path, there: dict, config: dict, allow_change: bool = False) -> list[str]:
    """The keys that differ, where that is allowed."""
    differ = _differing(there, config)
    of_rounding = all(key in ROUNDING for key in differ)
    if differ and not (allow_change and of_rounding):
        diff = "; ".join(f"{k}: {there.get(k, '-')!r} there, {config[k]!r} now" for k in differ)
        allowed = ", or go on with --allow-config-change: only last bits move" if of_rounding else ""
        raise UserError(
            f"workdir {workdir} holds results of another config ({diff}); choose another with --workdir=DIR{allowed}"
        )
    return differ


def _differing(there: dict, config: dict) -> list[str]:
    """The keys that differ; one that a workdir does not know, because it came later, had its default."""
    config, defaults = (json.loads(json.dumps(keys)) for keys in (config, flatten(Experiment())))
    return [k for k in config if config[k] != there.get(k, defaults.get(k, "-"))]


def environment() -> dict:
    """What else a result depends on: versions, devices, flags, revision, command."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "machine": f"{platform.machine()} {_cpu_model()}, {os.cpu_count()} cores",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git": _git("rev-parse", "HEAD") + (" (changed)" if _git("status", "--porcelain", "-uno") else ""),
        "command": _command(),
    }


def keep_environment(workdir: Path, asked: dict | None = None) -> list[str]:
    """Writes environment.json, and in it those before, where they differ; says what has changed, a line each.

    The command may change from one session to the next; what results depend on should not.

    Args:
      asked: keys of the config that are free to change, and yet move the last bits of some runs.
    """
    path, now = workdir / "environment.json", environment() | {"asked": asked or {}}
    before = writers.read_json(path) if path.exists() else now
    earlier = before.pop("earlier", [])
    if changed := _changed(before, now):
        earlier = [*earlier, before]
    writers.write_json(path, now | ({"earlier": earlier} if earlier else {}))
    return changed


def _changed(before: dict, now: dict) -> list[str]:
    def flat(one: dict) -> dict:
        own = {key: one[key] for key in ("python", "devices", "machine", "xla_flags", "git")}
        return own | one["packages"] | one.get("asked", {})

    old, new = flat(before), flat(now)
    return [f"{key} was {old.get(key)}, is {new.get(key)}" for key in old | new if old.get(key) != new.get(key)]


def _command() -> list[str]:
    """What was typed, as it can be typed again anywhere."""
    program = ["python", "-m", "fmnist_jax.main"] if sys.argv[0].endswith("fmnist_jax/main.py") else sys.argv[:1]
    return [*program, *sys.argv[1:]]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
