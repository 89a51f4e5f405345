"""The benchmarks beside throughput: their arithmetic by hand, other forms against the layers', and that they run."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICKLY, ROOT
from jax import lax

from benchmarks import all as everything
from benchmarks import (
    children,
    engine,
    forms,
    goals,
    gpu,
    overhead,
    record,
    sampling,
    scaling,
    tables,
    trials,
    workloads,
)
from fmnist_jax import data, errors, optim, pooling, train

TURNS = SimpleNamespace(turns=2, seconds=0.01, platform="cpu")


def test_a_summary_has_median_range_and_samples():
    found = record.summary([3, 1, 2, 10])
    assert found == {"median": 2.5, "min": 1.0, "max": 10.0, "n": 4, "samples": [3.0, 1.0, 2.0, 10.0]}


def test_ratios_are_taken_within_a_turn():
    # The machine is half as fast in the second turn: the ratio does not see it, that of the medians would.
    assert record.ratios([10.0, 5.0, 10.0], [5.0, 2.5, 4.0])["samples"] == [2.0, 2.0, 2.5]
    with pytest.raises(ValueError, match="shorter"):
        record.ratios([1.0, 2.0], [1.0])


def test_every_second_turn_goes_backwards():
    called = []
    ways = {name: lambda name=name: called.append(name) or float(len(called)) for name in "abc"}
    assert sampling.in_turns(ways, 2) == {"a": [1.0, 6.0], "b": [2.0, 5.0], "c": [3.0, 4.0]}
    assert "".join(called) == "abccba"


def test_turns_begin_with_another_way_and_some_ways_have_fewer():
    called = []
    ways = {name: lambda name=name: called.append(name) or 1.0 for name in "abc"}
    samples = sampling.in_turns(ways, {"a": 4, "b": 4, "c": 1})
    assert {name: len(of) for name, of in samples.items()} == {"a": 4, "b": 4, "c": 1}
    assert "".join(called) == "abcbabaab"


def test_steps_that_take_as_long_as_asked_are_found_in_less():
    asked = []

    def seconds_of(steps):  # a millisecond each
        asked.append(steps)
        return steps / 1000

    assert sampling.steps_in(2.0, seconds_of) == (2000, pytest.approx(0.001))
    assert sum(asked) < 2000
    assert sampling.steps_in(1.0, seconds_of, chunk=300) == (900, pytest.approx(0.001))
    assert sampling.steps_in(0.1, lambda steps: 5.0 * steps) == (1, 5.0)  # no fewer than one


def test_a_file_is_of_the_machines_and_days_of_all_its_cases():
    def opening(cpu, day):
        return {"hardware": {"cpu": cpu, "cores": 2}, "date": f"2026-01-{day}T00:00:00", "versions": {"jax": "1.0"}}

    assert record.origin(opening("A CPU", "02")) == "A CPU, 2 cores; 2026-01-02; jax 1.0"
    cases = [{"environment": opening("A CPU", "02")}, {"environment": opening("Another", "01")}]
    found = {**opening("Another", "03"), "cases": cases}  # what was added last may be none of the rest
    assert record.origin(found) == "A CPU, 2 cores; Another, 2 cores; 2026-01-01 to 2026-01-02; jax 1.0"


def test_goals_that_a_results_file_says_nothing_of_are_not_measured():
    cores = record.goal("1 -> 2 cores, 8 runs", "one core", 1.9, record.summary([1.8]))
    rows = goals.of(("scaling", "memory", "startup", "ideas"), {"scaling": {"goals": [cores]}})
    assert rows[0] == cores
    assert {row["rival"] for row in rows[1:]} == {"N times one run", "what --plan says", "first start"}
    assert [tables.verdict(row) for row in rows[1:]] == ["not measured"] * 5
    assert len(goals.gpu({})) == 4


def test_figures_have_as_many_digits_as_say_something():
    assert [record.number(value) for value in (0.985, 1.3149, 64.23, 1034.2)] == ["0.98×", "1.31×", "64.2×", "1,034×"]
    assert record.number(0.1423, "%") == "14.2%"
    assert record.ranged(record.summary([0.02, 0.03, 0.025]), "%") == "2.50% (2.00–3.00)"


def test_a_goal_is_reached_by_the_median_from_the_right_side():
    low, high = record.summary([0.9, 0.95, 1.2]), record.summary([0.9, 1.05, 1.2])
    assert [record.passed(record.goal("w", "r", 1.0, of)) for of in (low, high, None)] == [False, True, False]
    assert [record.passed(record.goal("w", "r", 1.0, of, at_most=True)) for of in (low, high)] == [True, False]


def test_a_smoke_run_never_writes_over_what_was_measured():
    smoke, real = (SimpleNamespace(out=None, smoke=smoke) for smoke in (True, False))
    assert record.RESULTS not in record.place("scaling", smoke).parents
    assert record.place("scaling", real) == record.RESULTS / "scaling.json"


def test_without_the_data_a_benchmark_ends_with_2_and_says_how_to_name_it(monkeypatch, capsys):
    def gone(*args, **more):
        raise errors.UserError("no\nfiles")

    monkeypatch.setattr(data, "load", gone)
    with pytest.raises(SystemExit) as ended:
        record.need_data(smoke=False)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "FMNIST_DATA_DIR" in line
    record.need_data(smoke=True)  # draws its own


def test_the_peak_of_a_child_is_its_own_and_not_that_of_who_started_it():
    held = np.ones(40 * 10**6)  # 320 MB, more than the child has
    child = children.python(["-c", "x = b'x' * 100_000_000; print('made')"])
    assert child.output == "made\n"
    assert 100e6 < child.peak < 200e6 < held.nbytes
    with pytest.raises(RuntimeError, match=r"status 3: what went wrong"):
        children.python(["-c", "import sys; print('what went wrong', file=sys.stderr); sys.exit(3)"])


def test_children_have_a_cache_of_their_own_and_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setenv("FMNIST_DATA_DIR", str(tmp_path))
    assert children.own_cache(tmp_path / "cache") == {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "FMNIST_DATA_DIR": str(tmp_path),
    }
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    assert children.python(["-c", "import os; print('JAX_COMPILATION_CACHE_DIR' in os.environ)"]).output == "False\n"


def test_an_engine_trains_every_run_by_so_many_steps():
    made = engine.Engine(workloads.checked("mlp_tiny", 3))
    made.seconds(5)
    assert made.runs.get(made.state).step.tolist() == [5, 5, 5]
    assert made.batch == 16


def test_numbers_of_cores_are_doubled_up_to_all():
    assert [scaling._powers(n) for n in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_scaling_is_judged_by_its_worst():
    def cost(*values):
        return [{"runs": 2**i, "cost": record.summary([v])} for i, v in enumerate(values)]

    ways = [("1 core", 1, 1.0), ("2 cores", 2, 1.8), ("one device, all cores", 2, 1.95)]
    rows = [{"name": name, "cores": n, "times_one_core": record.summary([v])} for name, n, v in ways]
    found = {
        "cores": {"runs": 8, "rows": rows},
        "runs": [{"workload": "cnn", "rows": cost(1.0, 0.6, 0.7, 0.55)}],
    }
    cores, of_runs = goals.scaling(found)
    assert (cores["goal"], cores["reached"]["median"]) == (1.9, 1.8)  # not one device, however fast
    assert (of_runs["reached"]["median"], of_runs["note"]) == (0.7, "worst at N = 4")
    off = [{"runs": 1, "off": 0.04}, {"runs": 2, "off": -0.2}]
    (memory,) = goals.memory({"studies": [{"workload": "cnn", "rows": off}]})
    assert (memory["reached"]["median"], memory["note"]) == (0.2, "worst at N = 2")
    assert [record.passed(row) for row in (cores, of_runs, memory)] == [False, True, False]


def test_where_a_studys_time_went_is_accounted_for_by_hand():
    # Two cores: 10 s of start with no device at work; 100 s of training, 4 of them compiling, with 190 s of the
    # devices; 6 s of the end, with 4 s of the devices.
    marks = {"began": (0.0, 0.0), "training": (10.0, 0.0), "trained": (110.0, 190.0), "ended": (116.0, 194.0)}
    found = overhead.account(marks, compiling=4.0, cores=2)
    assert found["stages"]["start"] == {"wall": 10.0, "outside": 10.0}
    assert found["stages"]["training"] == {"wall": 96.0, "outside": 1.0}
    assert found["stages"]["test, tables and page"] == {"wall": 6.0, "outside": 4.0}
    assert found["outside_by_threads"] == pytest.approx(15 / 112)


def test_the_devices_time_is_that_of_xlas_threads():
    square = jnp.ones((500, 500))
    product = jax.jit(lambda a: lax.fori_loop(0, 300, lambda i, a: 1e-3 * a @ a, a)).lower(square).compile()
    product(square).block_until_ready()
    before = overhead.device_seconds()
    time.sleep(0.05)
    assert overhead.device_seconds() - before < 0.04  # nobody is at work
    product(square).block_until_ready()
    assert overhead.device_seconds() - before > 0.04


@pytest.mark.parametrize("form", [forms.winograd, forms.row_wise, forms.patches])
def test_other_forms_of_a_convolution_are_one(form):
    rng = np.random.default_rng(0)
    images, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 6, 8, 3), (3, 3, 3, 5)))
    np.testing.assert_allclose(form(images, kernel), forms.lax_conv(images, kernel), atol=1e-4)


@pytest.mark.parametrize("form", [forms.reshape_max, forms.strided_max, forms.reduce_window_max])
def test_other_forms_of_max_pooling_are_one(form):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 8, 3)), jnp.float32)
    np.testing.assert_array_equal(form(images, 2), pooling.max_pool(images, 2))
    grads = [jax.grad(lambda x, f=f: (f(x, 2) ** 2).sum())(images) for f in (form, pooling.max_pool)]
    np.testing.assert_allclose(*grads, rtol=1e-6)


def test_an_unrolled_loop_does_the_same_steps_in_order():
    def digits(i, number):
        return 10 * number + i

    assert int(forms.Unrolled(3).fori_loop(1, 7, digits, jnp.int32(0))) == 123456
    assert forms.Unrolled(2).scan is lax.scan


def test_ideas_of_the_whole_step_train_to_the_same_loss():
    run = trials.Run("mlp_tiny", 12)
    flat = {"adam": lambda hyper, nesterov, adam=optim.OPTIMIZERS["adam"]: optax.flatten(adam(hyper, nesterov))}
    ways = {
        "as it is": run.segment(),
        "unrolled": run.segment(patched=mock.patch.object(train, "lax", forms.Unrolled(4))),
        "donated": run.segment(donate=True),
        "flat": run.segment(patched=mock.patch.dict(optim.OPTIMIZERS, flat)),
    }
    losses = {name: [float(call()), float(call())] for name, call in ways.items()}
    for found in losses.values():
        assert found == pytest.approx(losses["as it is"], rel=1e-4)
    assert losses["as it is"][1] < 2 * losses["as it is"][0]  # the second call went on from the first, and learns


def test_the_form_of_a_device_is_the_best_over_the_cnns():
    def case(workload, **speeds):
        rows = [
            {"mode": m, "conv": c, "of_best": record.summary([speeds[m + c]])} for m, c in gpu.FORMS if m + c in speeds
        ]
        return {"workload": workload, "forms": rows}

    cases = [
        case("cnn", vmappatches=1.0, vmaplax=0.2, mappatches=0.9, maplax=0.8),
        case("cnn", vmappatches=0.5, vmaplax=1.0, mappatches=0.9),  # mapped lax failed here, whatever it was before
        case("mlp", vmappatches=1.0, mappatches=0.01),  # has no convolution
    ]
    assert gpu.choose(cases) == ("map", "patches")


def test_rivals_of_a_gpu_are_timed_on_the_same_work(monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")
    compiled = ("PyTorch compile", "PyTorch vmap, compiled")
    ways = {name: way for name, way in gpu.gpu_rivals.WAYS.items() if name not in compiled}
    monkeypatch.setattr(gpu.gpu_rivals, "WAYS", ways)
    found = gpu.compare_rivals("cnn_tiny", 3, ("map", "patches"), TURNS)
    assert set(found["contenders"]) == {"fmnist_jax", "PyTorch eager", "PyTorch vmap"}
    assert found["failed"] == {"PyTorch CUDA graphs": "CUDA graphs need a CUDA device"}
    assert all(row["ours_is"]["n"] == 2 for row in found["contenders"].values())


def test_vmapped_runs_of_torch_take_the_steps_of_single_ones():
    torch = pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")
    made = engine.Engine(workloads.checked("cnn_tiny", 2))
    single, vmapped = (way(made, 2, "cpu") for way in (gpu.gpu_rivals.Eager, gpu.gpu_rivals.Vmapped))
    single.rows = list(vmapped.stacked)  # the same batches
    with torch.no_grad():
        for name, leaf in vmapped.params.items():
            for run, one in enumerate(single.nets):
                dict(one.named_parameters())[name].copy_(leaf[run])
    single.train(2)
    vmapped.train(2)
    for name, leaf in vmapped.params.items():
        for run, one in enumerate(single.nets):
            torch.testing.assert_close(dict(one.named_parameters())[name], leaf[run], atol=1e-5, rtol=1e-4)


def test_a_part_that_fails_stops_no_other_and_is_named(monkeypatch, capsys):
    from rich.console import Console

    asked = {"first": ["no_such_module"], "second": ["this", "-h"], "gpu": ["no_such_module"]}
    parts = everything.run(asked, ["gpu"], Console(quiet=True))
    assert [(part.name, part.status) for part in parts] == [
        ("first", "failed"),
        ("second", "done"),
        ("gpu", "not measured"),
    ]
    everything.show(parts, Console(width=80))
    said = capsys.readouterr().out
    assert "failed: first" in said
    assert "no accelerator" in said


def test_a_smoke_run_of_everything_leaves_results_and_document_alone(tmp_path):
    for name, words in everything.commands(True, tmp_path).items():
        out = [word for word in words if word.startswith("--out=")]
        assert [word.startswith(f"--out={tmp_path}") for word in out] == [True], name
    assert everything.commands(False, tmp_path) == everything.PARTS


@pytest.mark.parametrize(
    ("script", "flags", "keys"),
    [
        ("scaling", ["--only=cores"], {"cores"}),
        ("startup", [], {"starts", "second_over_first"}),
        ("overhead", ["--seconds=0.2"], {"rounds", "outside_by_threads"}),
        ("ideas", ["--only=orientation"], {"ideas"}),
    ],
)
def test_smoke_writes_its_json(script, flags, keys, tmp_path):
    out = tmp_path / "deep" / f"{script}.json"
    command = [sys.executable, "-m", f"benchmarks.{script}", "--smoke", *flags, f"--out={out}"]
    environment = {**os.environ, **QUICKLY}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    found = json.loads(out.read_text())
    assert {"command", "date", "hardware", "versions", *keys} <= set(found)
    for row in found.get("goals", ()):
        assert row["reached"]["n"] == len(row["reached"]["samples"])
