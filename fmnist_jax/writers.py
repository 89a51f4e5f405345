"""Files: metric rows as JSONL (the truth), everything else made from them. JSON and tables are whole or not there."""

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import socket
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from fmnist_jax.errors import RunError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes `path` whole or not at all: temporary file, fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode(errors="backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        sync_names(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync_names(directory: Path) -> None:
    """Sees to it that the names of the files in a directory are on the disk, as their contents are."""
    with contextlib.suppress(OSError):  # not every file system lets a directory be opened, or synced
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_csv(path: Path, table: pd.DataFrame, index: bool = False) -> None:
    """A table as CSV, numbers with seven digits, whole or not at all."""
    write_atomically(path, table.to_csv(index=index, float_format="%.7g"))


def write_json(path: Path, value) -> None:
    """`value` as indented JSON; NaN and infinities, which JSON lacks, become null."""
    write_atomically(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Arrays as a compressed .npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz that this package wrote.

    Raises:
      RunError: it is damaged, or not there.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise RunError(f"{path}: damaged; put it back, or remove {path.parent} to train its runs again") from None


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


def read_rows(path: Path) -> Iterator[dict]:
    """The rows of a JSONL file, one at a time; a torn last line is not one.

    Raises:
      RunError: a line that is not torn is damaged.
    """
    if path.exists():
        with open(path, "rb") as file:
            yield from (_row(path, line[:-1]) for line in file if line.endswith(b"\n"))


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a JSONL file as a table, a million in a second; a torn last line is not one.

    Raises:
      RunError: a line that is not torn is damaged.
    """
    content = path.read_bytes() if path.exists() else b""
    if not (whole := content[: content.rfind(b"\n") + 1]):
        return pd.DataFrame()
    try:
        table = pyarrow.json.read_json(io.BytesIO(whole))
    except pa.ArrowInvalid:
        return pd.DataFrame(read_rows(path))  # slower, and names the line that is damaged
    return pd.DataFrame({name: _column(table[name]) for name in table.column_names})


def _column(values: pa.ChunkedArray):
    """Numbers with NaN for null, so that a column of them is always one of floats."""
    return np.full(len(values), np.nan) if pa.types.is_null(values.type) else values.to_pandas()


def as_json(value):
    """`value` as it comes back from a JSON file."""
    return json.loads(json.dumps(_plain(value)))


def _row(path: Path, line: bytes) -> dict:
    try:
        row = json.loads(line)
        if isinstance(row["step"], int):
            return row
    except (ValueError, KeyError, TypeError):
        pass
    raise RunError(f"{path}: a damaged line, {line[:40]!r}...; put it back, or choose another --workdir")


def _trim(path: Path, last_step: int) -> None:
    """Into a new file: whoever still has the old one open, as one that slept and was taken over, adds nothing here."""
    kept = 0
    content = path.read_bytes()
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or _row(path, line)["step"] > last_step:
            break
        kept += len(line)
    write_atomically(path, content[:kept])


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


def write_tables(directory: Path, name: str, frame: pd.DataFrame) -> None:
    """A table as `name`.parquet and `name`.csv."""
    mixed = [c for c in frame if frame[c].dtype == object and len(set(map(type, frame[c]))) > 1]  # 5 and "5, 3"
    table = pa.Table.from_pandas(frame.astype(dict.fromkeys(mixed, str)), preserve_index=False)
    for suffix, write in ((".parquet", pyarrow.parquet.write_table), (".csv", pyarrow.csv.write_csv)):
        content = io.BytesIO()
        write(table, content)
        write_atomically(directory / (name + suffix), content.getvalue())


def write_tensorboard(directory: Path, curves: pd.DataFrame, results: pd.DataFrame, hyper: dict) -> None:
    """One TensorBoard run a run of the study: every metric by step, and the HParams with the final metrics."""
    with without("torch"):
        from tensorboardX import summary

    axes, base = ["arm", "seed", "fold"], {k: _hparam(v) for k, v in hyper.items()}
    metrics = [c for c in curves.columns if c.startswith(("train_", "validation_", "test_"))]
    by_run = dict(tuple(curves.groupby(axes))) if len(curves) else {}
    for result in results.to_dict("records"):
        arm, seed, fold = (result[axis] for axis in axes)
        path = directory / f"{_short(arm)}-seed{seed}-fold{fold}".replace("/", "_")
        making = directory / f".{path.name}"
        shutil.rmtree(making, ignore_errors=True)
        rows = by_run.get((arm, seed, fold), curves.iloc[:0])
        finals = {k: v for k, v in result.items() if k.startswith("test_") and _finite(v)}
        own = {k: _hparam(v) for k, v in result.items() if k in hyper}
        found = [(0, part) for part in summary.hparams({**base, **own, "seed": seed, "fold": fold}, finals)]
        found += [(0, summary.scalar(k, v)) for k, v in finals.items()]
        for row in rows.to_dict("records"):
            found += [(row["step"], summary.scalar(k, row[k])) for k in metrics if _finite(row[k])]
        making.mkdir(parents=True)
        write_atomically(making / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}", _events(found))
        shutil.rmtree(path, ignore_errors=True)
        os.replace(making, path)


def _events(found: Iterable[tuple[int, object]]) -> bytes:
    """A TensorBoard file of (step, summary).

    tensorboardX's own writer is a thread, whose errors nobody hears of, and writes HParams to a second file, which has
    the first one's name if it is opened in the same second.
    """
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    now, content = time.time(), io.BytesIO()
    events = [Event(wall_time=now, file_version="brain.Event:2")]
    events += [Event(wall_time=now, step=int(step), summary=part) for step, part in found]
    for event in events:  # as TFRecord has them
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        content.write(length + struct.pack("<I", masked_crc32c(length)))
        content.write(data + struct.pack("<I", masked_crc32c(data)))
    return content.getvalue()


@contextlib.contextmanager
def without(module: str):
    """As if it were not installed. tensorboardX takes 2 s and 200 MB to import PyTorch, of which nothing is asked."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None
    try:
        yield
    finally:
        del sys.modules[module]


def _short(name: str) -> str:
    """A name that is no longer than a file's may be, and still its own."""
    return name if len(name.encode()) < 150 else f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _finite(value) -> bool:
    return value is not None and math.isfinite(value)


def _hparam(value):
    return value if isinstance(value, (int, float, bool, str)) else str(value)
