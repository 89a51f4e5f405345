"""Arms timed alone: what is measured, once, in which order, and what becomes of it."""

import dataclasses
import io
import json
import os
import signal

import made_up
import numpy as np
import pandas as pd
import pytest
from helpers import build, mlp
from rich.console import Console

from fmnist_jax import analysis, claims, config, plan, session, study, sweep, tidy, timing, trial
from fmnist_jax.errors import UserError
from fmnist_jax.report import figures, frames

WIDTHS = sweep.product({"model.dense": ((3,), (6,))})
STEPS = 26  # two epochs of 216 images in batches of 16


def timed(**changes):
    """Two widths, two seeds, timed by four steps each."""
    return mlp(**{"seeds": 2, "sweep": WIDTHS, "evaluation__timed_steps": 4, "population__devices": 1, **changes})


def go(c, directory, **options):
    shown = io.StringIO()
    found = study.run(config.parse(c), directory, Console(file=shown, width=120), **options)
    return found, shown.getvalue()


def book(directory):
    return json.loads((directory / "timing.json").read_text())


def per_step(directory):
    """Name of the arm -> seed -> seconds; an arm that is as the config says has an empty override."""
    arms = book(directory)["arms"].items()
    return {f"dense={json.loads(arm).get('model.dense', [6])[0]}": one["seconds_per_step"] for arm, one in arms}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study, and what the terminal showed."""
    directory = tmp_path_factory.mktemp("timing") / "widths"
    return directory, *go(timed(), directory)


@pytest.fixture
def counted(monkeypatch):
    """(arm, seed) of every measurement, which takes no time: 1 ms a step for 3 units, 2 ms for 6."""
    calls = []

    def time(self, arm, seed):
        calls.append((arm.name, seed))
        self.note(arm, seed, {"dense=3": 1e-3, "dense=6": 2e-3}[arm.name], STEPS)

    monkeypatch.setattr(timing.Bench, "time", time)
    return calls


def test_every_arm_is_timed_once_a_seed(done):
    directory, found, shown = done
    assert "timing arms alone: 0/4" in shown
    assert "training a run alone takes" in shown
    for arm, seconds in per_step(directory).items():
        assert list(seconds) == ["0", "1"]
        own = found.table[found.table["arm"] == arm]
        assert own["alone_seconds"].tolist() == pytest.approx([STEPS * seconds["0"], STEPS * seconds["1"]])
        assert (own["alone_seconds"] > 0).all()
    about = book(directory)
    assert about["timed_steps"] == 4
    assert about["machine"]
    assert about["devices"]
    assert pd.read_csv(directory / "results.csv")["alone_seconds"].notna().all()
    summary = json.loads((directory / "summary.json").read_text())["arms"]["dense=3"]["alone_seconds"]
    assert summary["n"] == 2
    assert summary["best"] < summary["worst"]


def test_what_is_measured_is_not_measured_again(done, counted):
    before = (done[0] / "timing.json").read_bytes()
    go(timed(), done[0])
    go(timed(evaluation__timed_steps=0), done[0])
    assert (done[0] / "timing.json").read_bytes() == before
    assert counted == []


def test_new_seeds_are_timed_alone_and_another_number_of_steps_times_all(tmp_path, counted):
    go(timed(), tmp_path)
    assert sorted(counted) == [("dense=3", 0), ("dense=3", 1), ("dense=6", 0), ("dense=6", 1)]
    counted.clear()
    go(timed(seeds=3), tmp_path)
    assert sorted(counted) == [("dense=3", 2), ("dense=6", 2)]
    counted.clear()
    found, _ = go(timed(seeds=3, evaluation__timed_steps=5), tmp_path)
    assert len(counted) == 6
    assert found.table["alone_seconds"].tolist() == pytest.approx([0.026, 0.052] * 3)


def test_an_interrupted_timing_goes_on_with_what_is_missing(tmp_path, counted, monkeypatch):
    real = timing.Bench.time

    def killed(self, arm, seed):
        if len(counted) == 3:
            raise KeyboardInterrupt
        real(self, arm, seed)

    monkeypatch.setattr(timing.Bench, "time", killed)
    with pytest.raises(KeyboardInterrupt):
        go(timed(), tmp_path)
    measured = list(counted)
    monkeypatch.setattr(timing.Bench, "time", real)
    go(timed(), tmp_path)
    assert counted[:3] == measured
    assert len(set(counted)) == len(counted) == 4


def test_a_signal_stops_after_the_measurement_under_way(tmp_path, counted, monkeypatch):
    real = timing.Bench.time

    def signalled(self, arm, seed):
        os.kill(os.getpid(), signal.SIGTERM)
        real(self, arm, seed)

    monkeypatch.setattr(timing.Bench, "time", signalled)
    with pytest.raises(session.Interrupted, match="^stopped, all saved; the same command goes on from there$"):
        go(timed(), tmp_path)
    assert sum(map(len, per_step(tmp_path).values())) == 1


def test_arms_take_turns_in_an_order_of_each_seed(tmp_path):
    c = config.parse(timed(seeds=20))
    trained = study.arms.arms_of(c)
    found = timing.due(tmp_path, c, trained)
    assert found == timing.due(tmp_path, c, trained)
    assert [seed for _, seed in found] == [seed for seed in range(20) for _ in range(2)]
    first = [arm.name for arm, _ in found[::2]]
    assert {arm.name for arm, _ in found[:2]} == {"dense=3", "dense=6"}
    assert 3 < first.count("dense=3") < 17


def test_times_of_another_machine_do_not_stay_beside_new_ones(tmp_path, counted):
    go(timed(seeds=1), tmp_path)
    path = tmp_path / "timing.json"
    path.write_text(json.dumps(book(tmp_path) | {"machine": "an abacus"}))
    counted.clear()
    go(timed(seeds=1), tmp_path)
    assert counted == []  # nothing is missing: the times stay what they are, wherever they are shown
    go(timed(seeds=2), tmp_path)
    assert len(counted) == 4
    assert book(tmp_path)["machine"] != "an abacus"


def test_an_arm_that_cannot_be_timed_costs_the_others_nothing(tmp_path, counted, monkeypatch):
    real = timing.Bench.time

    def broken(self, arm, seed):
        if arm.name == "dense=3":
            raise ValueError("a bad\nday")
        real(self, arm, seed)

    monkeypatch.setattr(timing.Bench, "time", broken)
    found, shown = go(timed(), tmp_path)
    assert "dense=3, seed 0: not timed: ValueError: a bad day" in shown
    assert found.table.groupby("arm")["alone_seconds"].count().to_dict() == {"dense=3": 0, "dense=6": 2}
    monkeypatch.setattr(timing.Bench, "time", real)
    counted.clear()
    go(timed(), tmp_path)
    assert counted == []
    found, _ = go(timed(), tmp_path, retry=True)
    assert sorted(counted) == [("dense=3", 0), ("dense=3", 1)]


def test_a_run_that_stopped_took_the_steps_up_to_there(tmp_path):
    steps = {"arms": {"{}": {"total_steps": 100, "seconds_per_step": {"0": 0.5, "1": None}}}}
    (tmp_path / "timing.json").write_text(json.dumps(steps))
    rows = [("base", 0, 0, np.nan), ("base", 0, 1, 40.0), ("base", 1, 0, np.nan), ("base", 2, 0, 40.0)]
    runs = pd.DataFrame(rows, columns=["arm", "seed", "fold", "stopped_at"])
    found = timing.with_column(tmp_path, runs, {"base": "{}"})["alone_seconds"].tolist()
    assert found[:2] == [50.0, 20.0]
    assert np.isnan(found[2:]).all()
    assert "alone_seconds" not in timing.with_column(tmp_path, runs, {"base": "another"})


def test_the_time_alone_is_a_metric_that_claims_and_figures_know():
    asked = (claims.increases_with("A1", "dense", metric="alone_seconds"),)
    made = made_up.study({"model.dense": [3, 6]}, lambda values: 0.8, claims=asked)
    seconds = made.runs["model.dense"] + np.tile([0.1, 0.2, 0.3, 0.2, 0.1], 2) * made.runs["model.dense"]
    made = dataclasses.replace(made, runs=made.runs.assign(alone_seconds=seconds))
    assert made.metrics[-1] == "alone_seconds"
    assert tidy.lower_is_better("alone_seconds")
    found = analysis.analyse(made)
    assert found.verdicts[0].verdict == "replicated"
    row = found.summary[(found.summary["metric"] == "alone_seconds") & (found.summary["arm"] == "dense=6")].iloc[0]
    assert (row["mean"], row["best"]) == pytest.approx((6 * 1.18, 6 * 1.1))
    assert frames.costs(found)[0] == "alone_seconds"
    assert figures.time(found).get_xlabel() == "training time of a run alone (s)"


def test_time_steps_takes_just_the_steps_asked_for():
    runs, inputs = build(mlp(), seeds=(0,))
    state, seconds = timing.time_steps(runs, runs.init(inputs), inputs, 30)  # of 12 an epoch
    assert runs.get(state).step.tolist() == [30]
    assert seconds > 0


def test_a_plan_counts_the_timing(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "MEASURE_SECONDS", 0.1)
    shown = io.StringIO()
    few, many = (
        plan.show(config.parse(mlp(seeds=1, evaluation__timed_steps=n)), tmp_path, Console(file=shown, width=200))[0]
        for n in (1, 10**6)
    )
    assert "of it for timing arms alone" in shown.getvalue()
    assert many.alone_seconds > 10 * few.alone_seconds
    assert not list(tmp_path.iterdir())


def test_what_times_is_the_studys(tmp_path):
    with pytest.raises(UserError, match="evaluation.timed_steps=-1: must be at least 0"):
        config.parse(timed(evaluation__timed_steps=-1))
    with pytest.raises(UserError, match="evaluation.timed_steps: is the whole study's"):
        go(timed(sweep=({"evaluation.timed_steps": 3},)), tmp_path)
