"""A profile leaves a trace that can be opened, names what takes the time, and trains nothing."""

import gzip
import io
import json

import pytest
from helpers import mlp
from rich.console import Console

from fmnist_jax import config, profiling, sweep, trial
from fmnist_jax.errors import UserError


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(trial, "MEASURE_SECONDS", 0.05)
    monkeypatch.setattr(profiling, "SECONDS", 0.05)


def show(c, directory, place):
    shown = io.StringIO()
    profiling.show(config.parse(c), directory, place, Console(file=shown, width=80))
    return shown.getvalue()


def test_every_group_has_a_trace_and_its_longest_operations(tmp_path):
    widths = sweep.product({"model.dense": ((3,), (300,))})
    shown = show(mlp(seeds=2, sweep=widths, population__devices=1), tmp_path / "w", tmp_path / "p")
    assert not (tmp_path / "w").exists()
    for group in ("0", "1"):
        (trace,) = (tmp_path / "p" / group).rglob(profiling.TRACE)
        assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
        assert f"group {group}: " in shown
    assert "head/dense_0/dot_general" in shown
    assert "ui.perfetto.dev" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80


def test_time_is_summed_by_operation_and_a_loop_is_not_counted_twice(tmp_path):
    events = [
        {"ph": "X", "name": "dot.1", "dur": 3, "args": {"hlo_op": "dot.1"}},
        {"ph": "X", "name": "add", "dur": 5, "args": {"hlo_op": "add"}},
        {"ph": "X", "name": "dot.1", "dur": 4, "args": {"hlo_op": "dot.1"}},
        {"ph": "X", "name": "while.7", "dur": 12, "args": {"hlo_op": "while.7"}},
        {"ph": "X", "name": "python", "dur": 99},
        {"ph": "M", "name": "thread_name"},
        {},
    ]
    (tmp_path / "vm.trace.json.gz").write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    found = profiling.operations(tmp_path, {"dot.1": "dense_0/dot"})
    assert [(one.name, one.of, one.calls) for one in found] == [("dot.1", "dense_0/dot", 2), ("add", "", 1)]
    assert [one.seconds for one in found] == pytest.approx([7e-6, 5e-6])


def test_a_place_that_is_there_is_left_alone(tmp_path):
    with pytest.raises(UserError, match="is there already"):
        show(mlp(), tmp_path / "w", tmp_path)
