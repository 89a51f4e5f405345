"""Orbax checkpoints of a group between segments, each with a manifest of SHA-256 that makes it count.

Orbax writes in the background and renames a finished checkpoint into place; the manifest is written after that, so a
checkpoint is whole if and only if its manifest is there and agrees. One without a manifest is a save that was cut off
and is removed; one that disagrees is set aside with a warning, and the one before it is used.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from fmnist_jax.errors import RunError, StorageError
from fmnist_jax.writers import read_json, write_atomically

log = logging.getLogger("fmnist_jax")
_MISSING = "is missing"
_CUT_OFF = "its manifest is missing"


class Checkpoints:
    """The checkpoints of one group, in `directory`/<step>; the newest `keep` and the best by metric stay."""

    def __init__(self, directory: Path, keep: int):
        self.directory = Path(directory).absolute()
        self.keep = keep
        self.newest: int | None = None
        self._manager: ocp.CheckpointManager | None = None
        self._uncommitted: int | None = None

    def restore(self, template):
        """The newest whole checkpoint as (step, state), or None where there is none.

        `template` is a tree like the state, of arrays or ShapeDtypeStructs with NumPy shapes and dtypes.

        Raises:
          RunError: a checkpoint that agrees with its manifest cannot be read, or is of another shape.
        """
        if not self.directory.is_dir():
            return None
        for path in self.directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path)
        found = None
        for step in sorted((int(p.name) for p in self.directory.iterdir() if p.name.isdigit()), reverse=True):
            problem = self._check(step) if self._manifest(step).exists() else _CUT_OFF
            if found is None and problem is None:
                found, self.newest = (step, self._read(step, template)), step
            elif problem is _CUT_OFF or (found and problem and problem.endswith(_MISSING)):
                shutil.rmtree(self.directory / str(step))  # cut off while being written, or while being pruned
            elif problem:
                self._set_aside(step, problem)
        return found

    def save(self, step: int, state, metric: float) -> None:
        """Starts writing `state` (host arrays) as checkpoint `step`; a larger `metric` is better, NaN none."""
        self.wait()
        if self._manager is None:
            self._manager = self._open()
        metrics = None if np.isnan(metric) else {"metric": float(metric)}
        if not self._manager.save(step, args=ocp.args.StandardSave(_flat(state)), metrics=metrics):
            raise RunError(f"checkpoint {self.directory / str(step)} was refused by Orbax")
        self._uncommitted = self.newest = step

    def poll(self) -> None:
        """Writes the manifest of a save that has finished, if there is one."""
        if self._uncommitted is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits for the save under way and commits it.

        Raises:
          StorageError: it was not written.
        """
        if self._uncommitted is None:
            return
        step, self._uncommitted = self._uncommitted, None
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # Orbax and TensorStore raise what they like for a full disk
            raise StorageError(
                f"checkpoint {self.directory / str(step)} was not written: {_brief(error)}; "
                "mend that, and the same command goes on from the one before"
            ) from error
        write_atomically(self._manifest(step), json.dumps(_digests(self.directory / str(step)), indent=1))
        for path in self.directory.glob("*.manifest.json"):
            if not (self.directory / path.name.split(".")[0]).exists():
                path.unlink()

    def abandon(self) -> None:
        """Lets go of Orbax's threads, and leaves a save that is under way without its manifest."""
        self._uncommitted = None
        self.close()

    def close(self) -> None:
        """Waits for the save under way, then lets go of Orbax's threads."""
        self.wait()
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _open(self) -> ocp.CheckpointManager:
        best = BestN(get_metric_fn=lambda metrics: metrics["metric"], n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            create=True,
            enable_async_checkpointing=True,
            preservation_policy=AnyPreservationPolicy([LatestN(self.keep), best]),
        )
        return ocp.CheckpointManager(self.directory, options=options)

    def _manifest(self, step: int) -> Path:
        return self.directory / f"{step}.manifest.json"

    def _check(self, step: int) -> str | None:
        """What is wrong with a checkpoint by its manifest, or None."""
        try:
            expected = read_json(self._manifest(step))
        except RunError:
            return "its manifest is unreadable"
        found = _digests(self.directory / str(step))
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                return f"{name} {_MISSING}"
            if expected.get(name) != found[name]:
                return f"{name} is not as it was written"
        return None

    def _read(self, step: int, template):
        flat = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in _flat(template).items()}
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                restored = checkpointer.restore(self.directory / str(step) / "default", flat)
            leaves = [np.asarray(restored[name]) for name in flat]
            for leaf, (name, wanted) in zip(leaves, flat.items(), strict=True):
                if (leaf.shape, leaf.dtype) != (wanted.shape, wanted.dtype):
                    raise ValueError(f"{name} is {leaf.dtype}{leaf.shape}, not {wanted.dtype}{wanted.shape}")
        except Exception as error:  # whatever Orbax finds wrong with files that agree with their manifest
            path = self.directory / str(step)
            raise RunError(
                f"{path}: whole, but not readable ({_brief(error)}); remove it to use the one before"
            ) from error
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def _set_aside(self, step: int, problem: str) -> None:
        aside = self.directory / "set_aside"
        aside.mkdir(exist_ok=True)
        target = next(p for i in range(10**6) if not (p := aside / f"{step}-{i}").exists())
        log.warning("checkpoint %s of %s set aside: %s; going on without it", step, self.directory, problem)
        (self.directory / str(step)).rename(target)
        self._manifest(step).unlink()


def _brief(error: Exception) -> str:
    if code := re.search(r"os_error_code='(\d+)'", str(error)):  # TensorStore's way to name an errno
        return os.strerror(int(code[1])).lower()
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _flat(tree) -> dict[str, np.ndarray]:
    """Path -> leaf. Flat names keep Orbax from having to rebuild optax's and our own tuple types."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _digests(directory: Path) -> dict[str, str]:
    """Relative file name -> SHA-256 of every file below `directory`."""
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
