"""Rows are whole or not there; nothing half-written is ever in place."""

import json
import struct

import numpy as np
import pandas as pd
import pytest

from fmnist_jax import writers
from fmnist_jax.errors import RunError

ROWS = [{"step": s, "seed": i, "loss": 0.5 * s} for s in (1, 2, 3) for i in (0, 1)]


@pytest.fixture
def path(tmp_path):
    rows = writers.RowWriter(tmp_path / "m.jsonl", 0)
    rows.write(ROWS[:2])
    rows.write(ROWS[2:])
    rows.close()
    return tmp_path / "m.jsonl"


def test_rows_come_back(path):
    assert list(writers.read_rows(path)) == ROWS


def test_rows_past_the_checkpoint_are_trimmed(path):
    writers.RowWriter(path, 2).close()
    assert list(writers.read_rows(path)) == ROWS[:4]


def test_a_file_cut_at_any_byte_keeps_its_whole_rows(path):
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert list(writers.read_rows(path)) == ROWS[:whole]
        writers.RowWriter(path, 99).close()
        assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:whole])


def test_what_json_lacks_becomes_null(tmp_path):
    rows = writers.RowWriter(tmp_path / "m.jsonl", 0)
    rows.write([{"step": 1, "loss": float("nan"), "more": [float("inf"), 1.5]}])
    rows.close()
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"step": 1, "loss": None, "more": [None, 1.5]}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    writers.write_json(target, {"a": 1})
    monkeypatch.setattr(writers.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        writers.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_arrays_come_back_and_a_torn_file_is_said_to_be_one(tmp_path):
    path = tmp_path / "a.npz"
    writers.write_npz(path, a=np.arange(3), b=np.eye(2))
    found = writers.read_npz(path)
    assert found["a"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(RunError, match=r"a\.npz: damaged; put it back"):
            writers.read_npz(path)


def test_no_array_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        writers.read_npz(tmp_path / "a.npz")


def test_who_has_the_old_file_open_adds_nothing_to_the_new_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    sleeper = writers.RowWriter(path, -1)
    sleeper.write([{"step": 1}])
    owner = writers.RowWriter(path, 1)
    sleeper.write([{"step": 2}])
    owner.write([{"step": 2}])
    assert [row["step"] for row in writers.read_rows(path)] == [1, 2]
    owner.close()
    sleeper.close()


def test_a_file_has_its_name_on_the_disk_too(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        writers.os, "fsync", lambda handle: synced.append(writers.os.readlink(f"/proc/self/fd/{handle}"))
    )
    writers.write_json(tmp_path / "a.json", {"a": 1})
    assert len(synced) == 2
    assert synced[0].startswith(f"{tmp_path}/.")  # the temporary file
    assert synced[1] == str(tmp_path)
    writers.sync_names(tmp_path / "not there")  # where a directory cannot be synced, that is left


def test_a_table_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    writers.write_csv(path, pd.DataFrame({"arm": ["a,b"], "loss": [0.123456789]}))
    assert path.read_text() == 'arm,loss\n"a,b",0.1234568\n'
    writers.write_csv(path, pd.DataFrame({"x": [1]}, index=pd.Index(["first"], name="arm")), index=True)
    assert path.read_text() == "arm,x\nfirst,1\n"
    monkeypatch.setattr(writers.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        writers.write_csv(path, pd.DataFrame({"y": [2]}))
    assert path.read_text() == "arm,x\nfirst,1\n"
    assert [one.name for one in tmp_path.iterdir()] == ["table.csv"]


def test_what_is_no_utf_8_is_written_as_escapes(tmp_path):
    """A workdir may be called so: os.fsdecode makes half a character of such a byte."""
    writers.write_atomically(tmp_path / "page", "caf\udce9 é")
    assert (tmp_path / "page").read_bytes() == "caf\\udce9 é".encode()


def test_tensorboard_has_every_metric_by_step_and_the_hyper_parameters(tmp_path):
    run = {"arm": "a", "seed": 3, "fold": 0}
    curves = pd.DataFrame([{**run, "step": step, "train_loss": 1 / step, "test_x": None} for step in (1, 2)])
    writers.write_tensorboard(tmp_path / "t", curves, pd.DataFrame([{**run, "test_accuracy": 0.5}]), {"rate": 0.1})
    (file,) = (tmp_path / "t" / "a-seed3-fold0").iterdir()
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert struct.unpack("<I", content[12 + length : 16 + length]) == (masked_crc32c(content[12 : 12 + length]),)
        event = Event.FromString(content[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        content = content[16 + length :]
    assert [name for name, *_ in found[:3]] == [
        f"_hparams_/{name}" for name in ("experiment", "session_start_info", "session_end_info")
    ]
    assert found[3:] == [("test_accuracy", 0, 0.5), ("train_loss", 1, 1.0), ("train_loss", 2, 0.5)]
    assert b"rate" in file.read_bytes()
