"""Orbax checkpoints of a group between segments, each with a manifest of SHA-256 that makes it count.

Orbax writes in the background and renames a finished checkpoint into place; the manifest is written after that, so a
checkpoint is whole if and only if its manifest is there and agrees. One that disagrees is set aside with a warning, and
the one before it is used; so is one without a manifest, which is a save that was cut off, or has lost it.

Hosts as one save one checkpoint, each its own runs; it may be read by another number of hosts, or by one.
"""

import functools
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN
from orbax.checkpoint.options import AsyncOptions, MultiprocessingOptions

from fmnist_jax.errors import RunError, StorageError
from fmnist_jax.hosts import ALONE, Hosts
from fmnist_jax.writers import read_json, write_atomically

log = logging.getLogger("fmnist_jax")
SAVE_SECONDS = 300  # until a save that does not end has failed
_MISSING = "is missing"
_UNCONFIRMED = "it has no manifest, as a save that was cut off"


class Checkpoints:
    """The checkpoints of one group, in `directory`/<step>; the newest `keep` and the best by metric stay."""

    def __init__(self, directory: Path, keep: int, hosts: Hosts = ALONE):
        self.directory = Path(directory).absolute()
        self.keep, self.hosts = keep, hosts
        self.newest: int | None = None
        self._manager: ocp.CheckpointManager | None = None
        self._uncommitted: int | None = None

    def restore(self, template):
        """The newest whole checkpoint as (step, state), or None where there is none; as `find` and `read`."""
        self.newest = self.hosts.tell(self.find() if self.hosts.leads else None)
        return None if self.newest is None else (self.newest, self.read(self.newest, template))

    def find(self) -> int | None:
        """The step of the newest whole checkpoint; what is not whole is put out of the way. For one process alone."""
        if not self.directory.is_dir():
            return None
        for path in self.directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path)
        found = None
        for step in sorted((int(p.name) for p in self.directory.iterdir() if p.name.isdigit()), reverse=True):
            problem = self._check(step) if self._manifest(step).exists() else _UNCONFIRMED
            if found is None and problem is None:
                found = step
            elif found is not None and problem and problem.endswith(_MISSING):
                shutil.rmtree(self.directory / str(step))  # cut off while being pruned
            elif problem:
                self._set_aside(step, problem)
        return found

    def save(self, step: int, state, metric: float) -> None:
        """Starts writing `state` (host arrays) as checkpoint `step`; a larger `metric` is better, NaN none.

        Of several hosts, each gives its part, of as many runs as the others'.
        """
        self.wait()
        if self._manager is None:
            self._manager = self._open()
        metrics = None if np.isnan(metric) else {"metric": float(metric)}
        whole = self._whole(state)
        self.hosts.agree(None, lambda found: None)  # all have theirs: Orbax would not hear of one that has failed
        if not self._manager.save(step, args=ocp.args.StandardSave(whole), metrics=metrics):
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
        except MemoryError:  # its runs will go on in narrower groups
            raise
        except Exception as error:  # Orbax and TensorStore raise what they like for a full disk
            raise StorageError(
                f"checkpoint {self.directory / str(step)} was not written: {_brief(error)}; "
                "mend that, and the same command goes on from the one before"
            ) from error
        if not self.hosts.leads:
            return
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
        if self.hosts.leads:
            self.directory.mkdir(parents=True, exist_ok=True)
        self.hosts.tell()  # that it is there
        options = ocp.CheckpointManagerOptions(
            create=False,
            enable_async_checkpointing=True,
            preservation_policy=AnyPreservationPolicy([LatestN(self.keep), best]),
            **(_by_itself() if self.hosts.count == 1 else _together(self.hosts)),
            async_options=AsyncOptions(timeout_secs=SAVE_SECONDS),
        )
        return ocp.CheckpointManager(self._plain, options=options)

    @functools.cached_property
    def _plain(self) -> Path:
        """The directory, or a link to it where its path has what Orbax's glob or TensorStore would take for no name."""
        if not re.search(r"[*?\[\]\\\udc80-\udcff]", str(self.directory)):
            return self.directory
        place = Path(tempfile.mkdtemp(prefix="fmnist_jax-"))
        weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        (place / "checkpoints").symlink_to(self.directory)
        return place / "checkpoints"

    def _whole(self, state) -> dict:
        """Path -> the leaf of all hosts' runs."""
        flat = _flat(state)
        if self.hosts.count == 1:
            return flat
        over = _over_hosts(self.hosts)
        return {name: jax.make_array_from_process_local_data(over, leaf) for name, leaf in flat.items()}

    def _manifest(self, step: int) -> Path:
        return self.directory / f"{step}.manifest.json"

    def _check(self, step: int) -> str | None:
        """What is wrong with a checkpoint by its manifest, or None."""
        try:
            expected = read_json(self._manifest(step))
        except RunError:
            return "its manifest is unreadable"
        found = _digests(self.directory / str(step))
        # Before what is missing: pruning only takes files away, and what else was done to it would be taken for that.
        for name in sorted(found):
            if expected.get(name) != found[name]:
                return f"{name} is not as it was written"
        missing = sorted(expected.keys() - found.keys())
        return f"{missing[0]} {_MISSING}" if missing else None

    def read(self, step: int, template):
        """The state of a whole checkpoint.

        `template` is a tree like this host's part of the state, of arrays or ShapeDtypeStructs with NumPy shapes and
        dtypes, whose leading axes are of runs.

        Raises:
          RunError: a checkpoint that agrees with its manifest cannot be read, or is of another shape.
        """
        flat, path = _flat(template), self._plain / str(step) / "default"
        self.hosts.agree(None, lambda found: None)  # all are here: Orbax would not hear of one that has failed
        try:
            if self.hosts.count == 1:
                with ocp.StandardCheckpointer(**_by_itself()) as checkpointer:
                    empty = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in flat.items()}
                    restored = checkpointer.restore(path, empty)
                leaves = [np.asarray(restored[name]) for name in flat]
            else:
                leaves = self._read_part(path, flat)
            for i, (leaf, (name, wanted)) in enumerate(zip(leaves, flat.items(), strict=True)):
                # Of several hosts there may be more runs: copies, that filled up the last one's part.
                if leaf.dtype != wanted.dtype or leaf.shape[1:] != wanted.shape[1:] or len(leaf) < len(wanted):
                    raise ValueError(f"{name} is {leaf.dtype}{leaf.shape}, not {wanted.dtype}{wanted.shape}")
                leaves[i] = leaf[: len(wanted)]
        except MemoryError:
            raise
        except Exception as error:  # whatever Orbax finds wrong with files that agree with their manifest
            path = self.directory / str(step)
            raise RunError(
                f"{path}: whole, but not readable ({_brief(error)}); remove it to use the one before"
            ) from error
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def _read_part(self, path: Path, flat: dict) -> list[np.ndarray]:
        """This host's runs alone; those that nobody has saved, which are copies, are zeros."""
        over, runs = _over_hosts(self.hosts), self.hosts.count
        with ocp.StandardCheckpointer(**_together(self.hosts)) as checkpointer:
            saved = checkpointer.metadata(path).item_metadata
            asked = {}
            for name, leaf in flat.items():
                if saved[name].shape[1:] != leaf.shape[1:]:
                    raise ValueError(f"{name} is {saved[name].shape}, not {leaf.shape}")
                shape = (runs * len(leaf), *leaf.shape[1:])
                asked[name] = jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=over)
            restored = checkpointer.restore(path, asked, strict=False)
        return [np.asarray(restored[name].addressable_shards[0].data) for name in flat]

    def _set_aside(self, step: int, problem: str) -> None:
        aside = self.directory / "set_aside"
        aside.mkdir(exist_ok=True)
        if problem is _UNCONFIRMED:  # the newest of them alone, or many a kill would fill the disk
            target = aside / "unconfirmed"
            shutil.rmtree(target, ignore_errors=True)
        else:
            target = next(p for i in range(10**6) if not (p := aside / f"{step}-{i}").exists())
        log.warning("checkpoint %s of %s set aside: %s; going on without it", step, self.directory, problem)
        (self.directory / str(step)).rename(target)
        self._manifest(step).unlink(missing_ok=True)


def _brief(error: Exception) -> str:
    if code := re.search(r"os_error_code='(\d+)'", str(error)):  # TensorStore's way to name an errno
        return os.strerror(int(code[1])).lower()
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _over_hosts(hosts: Hosts) -> NamedSharding:
    """An axis of runs over the hosts, in order; each host's first device stands for it."""
    first = [next(d for d in jax.devices() if d.process_index == i) for i in range(hosts.count)]
    return NamedSharding(Mesh(np.array(first), ("runs",)), PartitionSpec("runs"))


def _by_itself() -> dict:
    """Options with which Orbax waits for no other host, where there are some that know nothing of it."""
    if jax.process_count() == 1:
        return {}
    own = jax.process_index()
    options = MultiprocessingOptions(primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"host{own}")
    return {"multiprocessing_options": options}


def _together(hosts: Hosts) -> dict:
    """Options with which Orbax waits for all hosts."""
    everyone = set(range(hosts.count))
    options = MultiprocessingOptions(
        primary_host=0, active_processes=everyone, barrier_sync_key_prefix=f"checkpoint{hosts.next_turn()}"
    )
    return {"multiprocessing_options": options}


def _flat(tree) -> dict[str, np.ndarray]:
    """Path -> leaf. Flat names keep Orbax from having to rebuild optax's and our own tuple types."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _digests(directory: Path) -> dict[str, str]:
    """Relative file name -> SHA-256 of every file below `directory`."""
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
