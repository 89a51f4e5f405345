"""A plan says what a study will take, and leaves nothing behind."""

import io
import time

import pytest
from helpers import mlp
from rich.console import Console

from fmnist_jax import arms, config, groups, plan, study, sweep, trial
from fmnist_jax.errors import UserError

WIDTHS = sweep.product({"model.dense": ((3,), (6,)), "loss.smoothing": (0.0, 0.1)})


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(trial, "MEASURE_SECONDS", 0.1)


def mapped(**changes):
    """One program for any number of seeds, compiled for one device."""
    return mlp(population__mode="map", population__devices=1, **changes)


def show(c, directory):
    """(estimates, what the terminal showed)."""
    shown = io.StringIO()
    return plan.show(config.parse(c), directory, Console(file=shown, width=100)), shown.getvalue()


def test_a_plan_names_what_will_be_trained_and_trains_nothing(tmp_path):
    estimates, shown = show(mlp(seeds=2, sweep=WIDTHS), tmp_path / "w")
    assert not (tmp_path / "w").exists()
    assert [(e.arms, e.runs, e.steps) for e in estimates] == [(2, 4, 26), (2, 4, 26)]
    assert [e.parameters for e in estimates] == [784 * n + n + 10 * n + 10 for n in (3, 6)]
    assert all(0 < e.seconds < 60 and 1e8 < e.bytes < 1e10 for e in estimates)
    assert "4 arms x 2 seeds x 1 folds: 8 runs; 8 to train, in 2 groups" in shown
    assert "time about" in shown
    assert "memory about" in shown


def test_a_plan_of_a_workdir_counts_what_is_left(tmp_path):
    study.run(config.parse(mapped(seeds=1, sweep=WIDTHS)), tmp_path, Console(quiet=True))
    assert show(mapped(seeds=1, sweep=WIDTHS), tmp_path)[0] == []
    estimates, shown = show(mapped(seeds=3, sweep=WIDTHS), tmp_path)
    assert [e.runs for e in estimates] == [4, 4]
    assert "12 runs; 8 to train" in shown


def test_a_longer_study_takes_longer(tmp_path):
    (short,), _ = show(mapped(seeds=1), tmp_path)
    (long,), _ = show(mapped(seeds=1, train__duration="20000 epochs"), tmp_path)
    assert long.seconds > 10 * short.seconds


def test_a_plan_refuses_what_the_study_would(tmp_path):
    with pytest.raises(UserError, match="train.batch_size=5000"):
        show(mlp(train__batch_size=5000), tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_the_test_set_is_timed_an_image(fraction):
    c = config.parse(mapped(seeds=1, dataset__name="synthetic:2400", dataset__validation_fraction=fraction))
    workshop = groups.Workshop(c)
    group = workshop.group("g", [workshop.prepare(arm) for arm in arms.arms_of(c)], [(0, 0, 0)])
    tried = trial.Trial(group, workshop.dataset(group.source), c)
    looked_at = tried.looked_at[0].parts[0].shape[-1]
    assert looked_at == (1200 if fraction else len(workshop.dataset(group.source).test_labels))
    start = time.perf_counter()
    per_image = tried.time_evaluation()
    assert 0 < per_image * looked_at <= time.perf_counter() - start
