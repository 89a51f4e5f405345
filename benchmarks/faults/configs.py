"""Every key of a config changed before a study goes on: refused with a diff, but for those that do not matter."""

import functools
import json
import shutil
import unittest.mock
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.faults import originals, others, row, within
from benchmarks.faults.row import Row, Trial
from fmnist_jax import config, paper, session, study, workdir
from fmnist_jax.errors import RunError, StorageError, UserError

# Words about a paper, and what parts it has more: no run of a part that is there is another for it.
OF_PAPERS = ("paper.title", "paper.reference", "paper.notes", "paper.exhibits", "paper.parts")
FREE = frozenset({*study.NOT_IN_A_RUN, *OF_PAPERS})
ROUNDING = frozenset(workdir.ROUNDING)
REACHED = "a session has come to its training"  # where it is stopped


def measure(full: bool, scratch: Path) -> list[Row]:
    """Rows of keys that matter, of those of rounding, of those that are free, and of the images themselves."""
    scratch.mkdir(exist_ok=True)
    table, keys = others.values(scratch), list(config.flatten(config.Experiment()))
    fault = "the config changed before a study goes on: "
    kinds = {
        "keys that a result depends on": ("refused, naming key and both values, whatever the flags", held),
        "keys that move last bits": ("refused; with --allow-config-change accepted, and noted", allowed),
        "keys that no run depends on": ("accepted", free),
    }
    rows = []
    for (what, (promise, trial)), chosen in zip(kinds.items(), _divided(keys), strict=True):
        trials = [functools.partial(trial, key, table.get(key), scratch) for key in chosen]
        rows.append(row.of(fault + what, promise, trials))
    promise = "refused, naming the data set"
    return [*rows, row.of("other images under the same name", promise, images(scratch, full))]


def _divided(keys: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Those that a result depends on, those of rounding, those that are free."""
    rest = [key for key in keys if key not in FREE | ROUNDING]
    return rest, [key for key in keys if key in ROUNDING], [key for key in keys if key in FREE]


def session_of(changes: Mapping, place: Path, **options) -> str:
    """What a session under a config comes to, which is stopped where it would train: REACHED, or why it is refused."""
    stopped = unittest.mock.patch.object(session, "train_group", side_effect=StorageError(REACHED))
    try:
        with stopped, unittest.mock.patch.object(paper, "write"):
            within.run(within.experiment(changes=changes), place, **options)
    except UserError as error:
        return str(error)
    except RunError as error:
        return REACHED if REACHED in str(error) else f"{type(error).__name__}: {error}"
    return "came to its end"


def _begun(name: str, changes: Mapping, scratch: Path) -> Path:
    """A workdir that has results, as far as the config is concerned."""
    place = scratch / "workdirs" / name
    shutil.rmtree(place, ignore_errors=True)
    if (said := session_of(changes, place)) != REACHED:
        raise RuntimeError(f"{name}: the config before the change is refused: {said}")
    for group in place.glob("**/groups/0"):
        (group / "checkpoints").mkdir()
        (group / "checkpoints" / "2.manifest.json").write_text("{}")
    return place


def _configs(key: str, other: others.Other | None) -> tuple[Mapping, Mapping, str]:
    """What is changed in the first config and in the second, and how the difference must be told."""
    if other is None:
        raise RuntimeError(f"{key}: benchmarks/faults/others.py has no other value for it")
    before, after = dict(other.beside), {**other.beside, key: other.value}
    values = [config.flatten(within.experiment(changes=changes))[key] for changes in (before, after)]
    if values[0] == values[1]:
        raise RuntimeError(f"{key}: its other value is the one it has")
    there = json.loads(json.dumps(values[0]))
    return before, after, f"{key}: {there!r} there, {values[1]!r} now"


def held(key: str, other: others.Other | None, scratch: Path) -> Trial:
    """A key that a result depends on."""
    before, after, told = _configs(key, other)
    place = _begun(key, before, scratch)
    kept = (place / "config.json").read_bytes()
    for allow in (False, True):
        said = session_of(after, place, allow_change=allow)
        if "holds results of another config" not in said or told not in said:
            return Trial(key, f"not refused by {told!r}: {said}")
    changed = (place / "config.json").read_bytes() != kept or (place / "changes.jsonl").exists()
    return Trial(key, "refused, and written all the same" if changed else "")


def allowed(key: str, other: others.Other | None, scratch: Path) -> Trial:
    """A key that moves last bits."""
    before, after, told = _configs(key, other)
    place = _begun(key, before, scratch)
    said = session_of(after, place)
    if told not in said or "--allow-config-change" not in said:
        return Trial(key, f"not refused with the flag named: {said}")
    for _ in range(2):  # the second time nothing is new
        if (said := session_of(after, place, allow_change=True)) != REACHED:
            return Trial(key, f"refused with the flag: {said}")
    log = place / "changes.jsonl"
    noted = [json.loads(line)["changed"] for line in log.read_text().splitlines()] if log.exists() else []
    now = json.loads((place / "config.json").read_text())[key]
    wanted = json.loads(json.dumps([config.flatten(within.experiment(changes=c))[key] for c in (before, after)]))
    return Trial(key, "" if noted == [{key: wanted}] and now == wanted[1] else f"noted as {noted}, {key} is {now}")


def free(key: str, other: others.Other | None, scratch: Path) -> Trial:
    """A key that no run depends on."""
    before, after, _ = _configs(key, other)
    said = session_of(after, _begun(key, before, scratch))
    return Trial(key, "" if said == REACHED else said)


def images(scratch: Path, full: bool) -> Iterator[Callable[[], Trial]]:
    """Files of the same names with another content."""
    for name in originals.idx_set() if full else list(originals.idx_set())[:1]:
        yield functools.partial(_other_images, name, scratch)


def _other_images(name: str, scratch: Path) -> Trial:
    files = originals.idx_set(40, 12)
    where = originals.write(files, scratch / "images" / name)
    changes = {"dataset.name": "idx", "dataset.data_dir": str(where), "evaluation.top_k": 2}
    place = _begun(f"images of {name}", changes, scratch)
    array = bytearray(originals.unzipped(files[name]))
    array[-1] = array[-3]  # another class that is there; another pixel
    (where / name).write_bytes(originals.zipped(bytes(array)))
    said = session_of(changes, place)
    return Trial(name, "" if "dataset.fingerprint" in said and "idx@0" in said else f"not refused: {said}")
