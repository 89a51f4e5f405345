"""Files: metric rows as JSONL (the truth), everything else made from them. JSON and tables are whole or not there."""

import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fmnist_jax.errors import RunError


def write_atomically(path: Path, text: str) -> None:
    """Writes `path` whole or not at all: temporary file, fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value) -> None:
    """`value` as indented JSON; NaN and infinities, which JSON lacks, become null."""
    write_atomically(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


class RowWriter:
    """Appends rows to a JSONL file, durably; on opening, drops a torn last line and every row past `last_step`."""

    def __init__(self, path: Path, last_step: int):
        self.path = path
        if path.exists():
            _trim(path, last_step)
        self._file = open(path, "ab")  # noqa: SIM115 -- closed by close()

    def write(self, rows: Iterable[dict]) -> None:
        """Appends the rows in one write; they are on the disk when this returns."""
        lines = "".join(json.dumps(_plain(row), allow_nan=False) + "\n" for row in rows)
        self._file.write(lines.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_json(path: Path) -> dict:
    """The object in a JSON file that this package wrote.

    Raises:
      RunError: it is damaged.
    """
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RunError(f"{path}: damaged; put it back, or choose another --workdir")
    return value


def read_rows(path: Path) -> list[dict]:
    """The rows of a JSONL file; a torn last line is not one.

    Raises:
      RunError: a line that is not torn is damaged.
    """
    if not path.exists():
        return []
    return [_row(path, line) for line in path.read_bytes().split(b"\n")[:-1]]


def _row(path: Path, line: bytes) -> dict:
    try:
        row = json.loads(line)
        if isinstance(row["step"], int):
            return row
    except (ValueError, KeyError, TypeError):
        pass
    raise RunError(f"{path}: a damaged line, {line[:40]!r}...; put it back, or choose another --workdir")


def _trim(path: Path, last_step: int) -> None:
    kept = 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or _row(path, line)["step"] > last_step:
            break
        kept += len(line)
    with open(path, "r+b") as file:
        file.truncate(kept)
        os.fsync(file.fileno())


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_tables(directory: Path, name: str, rows: list[dict]) -> None:
    """The rows as `name`.parquet and `name`.csv."""
    frame = pd.DataFrame(rows)
    for suffix, write in ((".parquet", frame.to_parquet), (".csv", frame.to_csv)):
        temporary = directory / f".{name}{suffix}"
        write(temporary, index=False)
        os.replace(temporary, directory / (name + suffix))


def write_tensorboard(directory: Path, curves: list[dict], results: list[dict], hyper: dict) -> None:
    """One TensorBoard run a run of the study: every metric by step, and the HParams with the final metrics."""
    from tensorboardX import SummaryWriter

    by_run: dict[tuple, list[dict]] = {}
    for row in curves:
        by_run.setdefault((row["arm"], row["seed"], row["fold"]), []).append(row)
    for result in results:
        run = (result["arm"], result["seed"], result["fold"])
        path = directory / f"{run[0]}-seed{run[1]}-fold{run[2]}"
        for old in path.glob("events.*"):
            old.unlink()
        rows = by_run.get(run, [])
        # A queue that holds every event: with a shorter one tensorboardX waits for ever on a full disk.
        with SummaryWriter(str(path), max_queue=100 + sum(map(len, rows))) as writer:
            for row in rows:
                for key, value in row.items():
                    if isinstance(value, float) and key != "epoch":
                        writer.add_scalar(key, value, row["step"])
            finals = {k: v for k, v in result.items() if isinstance(v, float) and k.startswith("test_")}
            plain = {k: v if isinstance(v, (int, float, bool, str)) else str(v) for k, v in hyper.items()}
            writer.add_hparams({**plain, "seed": run[1], "fold": run[2]}, finals, name=".")
