"""Rows are whole or not there; nothing half-written is ever in place."""

import json

import pytest

from fmnist_jax import writers

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
