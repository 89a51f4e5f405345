"""How the throughput benchmark goes about it: what it trains, in what turns, what it keeps, and what it makes of it."""

import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import QUICKLY, ROOT
from rich.console import Console

from benchmarks import accuracy, cases, chart, crossover, goals, machine, record, roofline, tables, throughput
from benchmarks.cases import BFLOAT16, FLAX, FLOAT32, KERAS, OURS, VMAP, WORKLOADS
from benchmarks.rivals import choices
from benchmarks.rivals.choices import Choice
from benchmarks.rivals.team import Remote, Team
from configs import acosta, alexander, blagg, kunze
from fmnist_jax import arms, config, errors

METHOD = throughput.Method(pairs=5, seconds=2.0, smoke=False)


def test_the_workloads_are_what_the_studies_train():
    arm = {name: cases.study_arm(workload) for name, workload in WORKLOADS.items()}
    plain = config.parse(alexander.get_config("test"))
    assert arm["alexander"].model == plain.model  # and the benchmark then leaves its batch norm out
    assert arm["alexander"].optimizer == plain.optimizer
    assert arm["alexander"].loss == plain.loss
    paper = config.parse(acosta.get_config("full"))
    assert arm["acosta"].model == dataclasses.replace(paper.model, filters=(64, 64))
    assert arm["acosta"].optimizer == dataclasses.replace(paper.optimizer, learning_rate=0.1)
    assert paper.train.batch_size == WORKLOADS["acosta"].batches[0] == 500
    fruits = config.parse(blagg.get_config("full"))
    assert (arm["blagg"].model, arm["blagg"].optimizer) == (fruits.model, fruits.optimizer)
    assert (arm["blagg"].dataset, arm["blagg"].loss) == (fruits.dataset, fruits.loss)
    assert fruits.train.batch_size == WORKLOADS["blagg"].batches[0]
    units = config.parts(config.parse(kunze.get_config("units")))["dense"]
    nets = {one.experiment.model.dense: one.experiment for one in arms.arms_of(units)}
    for n in (10, 50, 200, 800):
        assert arm[f"kunze_{n}"] == nets[n,]
        assert arm[f"kunze_{n}"].train.batch_size == 32
    assert arm["resnet18"].model.family == arm["resnet18_inference"].model.family == "resnet18"
    assert arm["resnet18"].train.batch_size == WORKLOADS["resnet18"].batches[0]
    assert arm["resnet18"].evaluation.batch_size == WORKLOADS["resnet18_inference"].batches[0]


def test_an_arm_that_is_not_one_is_refused():
    several = dataclasses.replace(WORKLOADS["blagg"], where={"loss.name": "poisson"})
    with pytest.raises(ValueError, match="20 arms with"):
        cases.study_arm(several)


def tiny(name, batch=8, **changes):
    return dataclasses.replace(cases.of_workload(name, batch, 8, tiny=True), **changes)


def test_flops_and_bytes_of_an_image_by_hand():
    case = tiny("kunze_10", 32)  # 784-8-10
    assert case.flops == 2 * (2 * 784 * 8 + 3 * 8 * 10)
    weights = 785 * 8 + 9 * 10
    a_step = 2 * (weights + 2 * weights + 1) + 2 * weights  # Adam: two moments, and a count
    assert case.bytes == 4 * (a_step / 32 + 2 * (784 + 8 + 10))
    inference = dataclasses.replace(case, task="infer")
    assert inference.flops == 2 * (784 * 8 + 8 * 10)
    assert inference.bytes == 4 * (weights / inference.batch + 2 * (784 + 8 + 10))


def test_alexander_is_the_net_of_performance_md():
    case = cases.make(
        "alexander",
        config.overlay(cases.study_arm(WORKLOADS["alexander"]), WORKLOADS["alexander"].changes),
        cases.Source(config.DatasetConfig(), ((28, 28, 1), 10, 64)),
        8,
    )
    assert 24e6 < case.flops < 26e6
    assert [block.norm for block in case.static.model.blocks] == ["none", "none"]


class Worker:
    """A contender that notes when it works."""

    runs = batch = chunk = 1

    def __init__(self, name, log):
        self.name, self.log = name, log

    def work(self, steps):
        self.log.append(self.name)


def test_no_contender_always_follows_the_same_one():
    log = []
    names = ("a", "b", "c", "d")
    contenders = {name: Worker(name, log) for name in names}
    samples = throughput.in_turns(contenders, dict.fromkeys(names, (1e9, 1)), METHOD)
    assert {name: len(rates) for name, rates in samples.items()} == dict.fromkeys(names, 5)
    for name in names:
        before = {log[i - 1] for i, worked in enumerate(log) if worked == name and i}
        assert len(before) > 1
    assert len({tuple(log[i : i + 4]) for i in range(0, 20, 4)}) > 3


def test_a_contender_that_takes_very_long_has_fewer_turns():
    log = []
    probed = {"quick": (1.0, 2), "slow": (1.0, 30)}  # images/s, steps: 2 and 30 seconds a turn
    samples = throughput.in_turns({name: Worker(name, log) for name in probed}, probed, METHOD)
    assert {name: len(rates) for name, rates in samples.items()} == {"quick": 5, "slow": 1}


def test_the_steps_of_accuracies_are_what_the_slowest_can_afford():
    case = SimpleNamespace(runs=8, batch=32)
    # Ours needs 8 seeds, PyTorch 3: 60 s x 4,096 images/s / (8 x 32) = 960 steps; 60 x 640 / (3 x 32) = 400.
    assert accuracy.steps(case, {OURS: 4096.0, FLOAT32: 1e6}) == 960
    assert accuracy.steps(case, {OURS: 4096.0, FLOAT32: 640.0, FLAX: 1.0}) == 400
    assert accuracy.steps(case, {OURS: 1e9, FLOAT32: 1e9}) == 2000
    assert accuracy.steps(case, {OURS: 60.0, FLOAT32: 1e9}) == 14
    assert accuracy.steps(case, {OURS: 1.0, FLOAT32: 1e9}) == 2


def test_accuracies_are_of_as_many_seeds_as_can_be_afforded():
    class Trained:
        def __init__(self, seed):
            self.seed = seed

        def work(self, steps):
            assert steps == 100

        def accuracies(self):
            return [self.seed / 100, (self.seed + 1) / 100]

    def measured(rate, runs=2, pays=False):
        case = SimpleNamespace(batch=32)
        return accuracy.measure(lambda stack, seed: Trained(seed), runs, case, 100, rate, pays=pays)

    assert measured(1e9)["values"] == [i / 100 for i in range(40)]
    three = 3 * 100 * 32 / 60  # images/s that make three seeds in a minute
    assert measured(1.01 * three) == {
        "mean": 0.015,
        "sd": pytest.approx(0.01291, rel=1e-3),
        "n": 4,
        "values": [0, 0.01, 0.02, 0.03],
    }
    assert measured(0.9 * three) is None
    assert measured(0.9 * three, pays=True)["n"] == 4
    assert measured(1.01 * three, runs=8) is None  # it trains all eight or none
    assert accuracy.measure(None, 2, SimpleNamespace(batch=32), 0, 1e9, pays=True) is None  # nothing is trained


def measured(workload, batch, flops=1e6, intensity=10.0, **rates):
    """A case of a JSON whose rates are these, twice each."""
    rates = {name.replace("_", " "): [rate, rate] for name, rate in rates.items()}
    ours = [4000.0, 6000.0]
    contenders = {
        name: {
            "how": "some way",
            "images_per_second": record.summary(values),
            "ours_is": record.summary([a / b for a, b in zip(ours, values, strict=True)]),
            "test_accuracy": {"mean": 0.9, "sd": 0.01, "n": 2, "values": [0.89, 0.91]},
        }
        for name, values in {OURS: ours, **rates}.items()
    }
    limit = 20.0
    return {
        "workload": workload,
        "batch": batch,
        "runs": 8,
        "task": WORKLOADS[workload].task,
        "mode": "map",
        "flops_per_image": flops,
        "bytes_per_image": flops / intensity,
        "dataset": {"name": "made up", "synthetic": True},
        "environment": {"hardware": {"cpu": "a CPU", "cores": 2}, "date": "2026-01-01T00:00:00"},
        "matmul_gflops": {"512³, 2 at once": limit},
        "bandwidth_gbs": {"2 at once": 10.0},
        "accuracy_steps": 100,
        "share_of_limit": record.summary([rate * flops / limit / 1e9 for rate in ours]),
        "contenders": contenders,
    }


def test_goals_are_medians_of_ratios_and_stay_where_nothing_was_measured():
    cases_there = [measured("alexander", 32, **{FLOAT32: 4000.0}), measured("alexander", 128, **{KERAS: 1000.0})]
    rows = goals.throughput({"cases": cases_there})
    found = {(row["workload"], row["batch"], row["rival"]): row for row in rows}
    assert found["alexander", 32, FLOAT32]["reached"]["median"] == 1.25  # of 1 and 1.5
    assert not record.passed(found["alexander", 32, FLOAT32])
    assert found["alexander", 128, KERAS]["reached"]["median"] == 5
    assert found["alexander", 128, FLOAT32]["reached"] is None
    share = found["alexander", 32, goals.LIMIT]
    assert share["reached"]["median"] == 5000 * 1e6 / 20e9
    assert (share["goal"], share["unit"]) == (0.5, "%")
    assert found["kunze_800", 32, VMAP] == {**record.goal("kunze_800", VMAP, 4.0, None), "batch": 32}
    assert len(rows) == 2 * 5 + 8


def test_the_goals_are_those_of_the_issue():
    assert {rival: goal for workload, rival, goal in goals.THROUGHPUT if workload == "alexander"} == {
        FLOAT32: 1.5,
        BFLOAT16: 1.0,
        FLAX: 40,
        KERAS: 2,
        goals.LIMIT: 0.5,
    }
    assert {(w, r): g for w, r, g in goals.THROUGHPUT if w.startswith("kunze")} == {
        ("kunze_10", FLOAT32): 10,
        ("kunze_10", VMAP): 10,
        ("kunze_800", FLOAT32): 4,
        ("kunze_800", VMAP): 4,
    }
    for workload, rival, _ in goals.THROUGHPUT:
        assert rival in (*WORKLOADS[workload].rivals, goals.LIMIT)


def test_add_replaces_what_is_measured_again_and_keeps_the_rest():
    kept = [measured("alexander", 32), measured("alexander", 128), measured("kunze_10", 32)]
    again = [measured("blagg", 64), measured("alexander", 128, flops=2e6)]
    found = throughput.merged(kept, again)
    assert [(case["workload"], case["batch"], case["flops_per_image"]) for case in found] == [
        ("alexander", 32, 1e6),
        ("alexander", 128, 2e6),
        ("blagg", 64, 1e6),
        ("kunze_10", 32, 1e6),
    ]


def test_a_choice_that_fails_is_kept_with_its_reason():
    def measure(choice):
        if choice.layout == "channels_last":
            raise RuntimeError("no such layout\nand a long trace")
        return float(choice.processes)

    case = tiny("alexander")
    grid = choices.calibrate(FLOAT32, case, 2, measure)
    assert {rate for choice, rate in grid if choice.layout == "channels_last"} == {"no such layout"}
    chosen, _ = choices.fastest(grid)
    assert (chosen.layout, chosen.processes) == ("contiguous", 2)
    assert choices.fastest([(Choice(), "all failed")]) is None
    assert choices.second(FLOAT32, case, [(Choice(), "all failed")]) == []
    assert len(choices.calibrate(FLOAT32, case, 2, measure, smoke=True)) == 1
    table = chart.grid_table(case, {FLOAT32: grid})
    assert "channels_last" in table.caption


def test_what_is_tried_of_each_rival():
    case = tiny("alexander")
    tried = choices.first(FLOAT32, case, 2)
    assert {(c.layout, c.processes, c.threads) for c in tried} == {
        (layout, *team) for layout in ("contiguous", "channels_last") for team in ((1, 1), (1, 2), (2, 1))
    }
    assert {c.dtype for c in choices.first(BFLOAT16, case, 2)} == {"bfloat16"}
    assert len(choices.first(FLOAT32, tiny("kunze_10"), 2)) == 3  # layouts are of images
    assert {(c.processes, c.threads) for c in choices.first(VMAP, case, 2)} == {(1, 1), (1, 2), (2, 1)}
    assert {(c.backend, c.processes) for c in choices.first(KERAS, case, 2)} == {
        ("jax", 1), ("jax", 2), ("torch", 1), ("torch", 2)
    }  # fmt: skip
    grid = [(Choice(), 1.0), (Choice(layout="channels_last"), 2.0)]
    assert choices.second(FLOAT32, case, grid) == [Choice(layout="channels_last", compiled=True)]
    in_batches = choices.second(FLOAT32, dataclasses.replace(case, task="infer"), grid)
    assert {(c.batch, c.compiled) for c in in_batches} == {
        (0, True),
        (32, False),
        (32, True),
        (128, False),
        (128, True),
    }


def test_a_rival_that_cannot_be_built_or_is_gone_is_an_error_and_the_team_goes_on():
    pytest.importorskip("torch")
    case = tiny("kunze_10", runs=2)
    with Team(1) as team:
        with pytest.raises(RuntimeError, match="KeyError"):
            Remote(with_optimizer(case, "lion"), Choice(), team, "a")
        team.members[0][1].kill()
        with pytest.raises(RuntimeError, match="gone"):
            Remote(case, Choice(), team, "a")
        rival = Remote(case, Choice(), team, "a", seed=3)
        rival.work(2)
        (first,) = rival.accuracies()
        rival.drop()
        with pytest.raises(RuntimeError, match="KeyError: 'a'"):
            rival.work(1)
        both = Remote(case, Choice("vmap"), team, "b")
        both.work(1)
        assert both.runs == len(both.accuracies()) == 2
    assert 0 <= first <= 1
    assert team.members == []


def with_optimizer(case, name):
    checked = dataclasses.replace(case.checked, optimizer=config.OptimizerConfig(name=name))
    return dataclasses.replace(case, checked=checked)


def test_limits_of_the_machine():
    found = machine.limits(smoke=True, seconds=0.01)
    assert list(found["matmul_gflops"]) == ["64³, 1 at once", "64³, 2 at once"]
    assert list(found["bandwidth_gbs"]) == ["1 at once", "2 at once"]
    assert all(value > 0 for limits in found.values() for value in limits.values())
    assert machine.hardware()["cores"] == len(os.sched_getaffinity(0))


def many_cases():
    """All workloads, with intensities as they come, close to each other and not."""
    sizes = {"alexander": (24.8e6, 60), "acosta": (147e6, 90), "blagg": (40e6, 35), "resnet18": (190e6, 40)}
    sizes |= {"resnet18_inference": (63e6, 41), "kunze_10": (32e3, 3)}
    sizes |= {"kunze_50": (160e3, 4), "kunze_200": (640e3, 5), "kunze_800": (2.5e6, 5.2)}
    rng, made = np.random.default_rng(0), []
    for name, workload in WORKLOADS.items():
        for batch in workload.batches:
            flops, intensity = sizes[name]
            roof = min(20e9, 10e9 * intensity) / flops
            rates = {rival: roof * rng.uniform(0.05, 0.5) for rival in workload.rivals}
            made.append(measured(name, batch, flops, intensity, **rates))
            made[-1]["contenders"][OURS]["images_per_second"] = record.summary([roof * rng.uniform(0.3, 0.6)] * 2)
    return made


def test_plots_are_drawn_and_labels_of_the_roofline_cover_nothing(tmp_path, monkeypatch):
    found = {"cases": many_cases()}
    written, label = [], roofline.label
    monkeypatch.setattr(roofline, "label", lambda axes, named: written.append((axes, label(axes, named))))
    throughput.write(found, tmp_path / "throughput.json", Console(quiet=True))
    ((axes, boxes),) = written
    assert len(boxes) == len(found["cases"])
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    lines = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    assert len(lines) > len(boxes)  # the roof, and one from each point to its rival's
    assert not any(line.intersects_bbox(box, filled=False) for line in lines for box in boxes)
    for name in ("throughput.png", "roofline.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_points_of_the_roofline():
    (point,) = roofline.points({"cases": [measured("blagg", 64, 2e6, 8.0, **{FLOAT32: 1000.0})]})
    assert point == {"label": "blagg", "intensity": 8.0, OURS: 5000 * 2e6 / 1e9, FLOAT32: 2.0}


def test_tables_fit_eighty_columns(capsys):
    console = Console(width=80)
    case = measured("resnet18_inference", 500, **dict.fromkeys(WORKLOADS["alexander"].rivals, 1234.5))
    for row in case["contenders"].values():
        row["images_per_second"] = record.summary([2e6, 1.9e6, 2.2e6])
        row["ours_is"] = record.summary([110.2, 108.4, 112.3])
    console.print(*chart.case_report(case), sep="\n")
    there = {"cases": [measured("alexander", 128, **dict.fromkeys(WORKLOADS["alexander"].rivals, 123.0))]}
    tables.show_goals(goals.throughput(there), console)
    tried = [(Choice("keras", processes=2, compiled=True, backend="torch"), 1e6), (Choice(batch=128), 2e6)]
    console.print(chart.grid_table(tiny("resnet18_inference"), {KERAS: tried[:1], FLOAT32: tried[1:]}))
    said = capsys.readouterr().out
    assert "…" not in said
    assert "not measured" in said


def test_crossover_measures_both_modes():
    case = crossover.case_of({"family": "mlp", "dense": (3,)}, 8, 2, tiny=True)
    assert len(case.dataset.train_labels) == 64
    assert case.static.model.dense[0].units == 3


def test_without_its_images_it_ends_with_status_2(monkeypatch, capsys):
    def nowhere(source):
        raise errors.UserError(f"{source.dataset.name}: not in\nany place")

    monkeypatch.setattr(cases, "load", nowhere)
    with pytest.raises(SystemExit) as ended:
        throughput.main(["--workload=blagg"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "blagg" in line
    assert "FMNIST_DATA_DIR" in line


def test_smoke_writes_json_and_png_and_add_keeps_the_cases_there(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "deep" / "throughput.json"
    out.parent.mkdir()
    kept = measured("kunze_50", 32)
    out.write_text(json.dumps({"cases": [kept]}))
    command = [sys.executable, "-m", "benchmarks.throughput", "--smoke", "--add", "--workload=kunze_10", f"--out={out}"]
    environment = {**os.environ, **QUICKLY}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    case, other = json.loads(out.read_text())["cases"]
    assert other == kept
    assert case["workload"] == "kunze_10"
    assert case["dataset"]["synthetic"]
    assert set(case["contenders"]) == {OURS, FLOAT32, VMAP}
    for row in case["contenders"].values():
        assert row["images_per_second"]["n"] == len(row["images_per_second"]["samples"]) == 1
        assert row["ours_is"]["median"] > 0
        assert len(row["test_accuracy"]["values"]) == row["test_accuracy"]["n"] >= 3
        assert np.mean(row["test_accuracy"]["values"]) == pytest.approx(row["test_accuracy"]["mean"])
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert out.with_name("roofline.png").exists()
