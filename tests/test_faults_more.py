"""The faults of checkpoints, rows, hyper-parameters, configs and places: each is survived as promised, and is
seen not to be where its guard is taken out."""

import functools
import json
import os
import subprocess
import sys
import types

import made_up
import numpy as np
import pytest
import test_checkpoint

from benchmarks.faults import browsed, checkpoints, configs, devices, hypers, others, row, rows, surroundings, within
from fmnist_jax import checkpoint, config, fields, session, study, workdir, writers
from fmnist_jax.analysis import analyse
from fmnist_jax.report import page


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def broken(trials) -> dict[str, str]:
    """Name -> problem of those that broke their promise, of all that were made."""
    made = row.of("", "", trials)
    assert made.trials
    return dict(made.broken)


# --- checkpoints


@pytest.fixture
def made(tmp_path):
    """Three whole checkpoints of a small state."""
    kept = checkpoint.Checkpoints(tmp_path / "kept", keep=3)
    for step in (1, 2, 3):
        kept.save(step, test_checkpoint.state(step), step)
    kept.close()
    return checkpoints.Made(tmp_path / "kept", test_checkpoint.state(0), tmp_path)


def test_a_damaged_checkpoint_is_never_loaded(made):
    largest = max(made.names(3), key=lambda name: (made.kept / name).stat().st_size)
    trials = [trial for trial in checkpoints.files(made, full=False) if largest in trial.args[0]]
    assert broken(trials) == {}
    assert broken(list(checkpoints.manifest_bits(made, full=False))[::7]) == {}
    assert broken(checkpoints.missing(made)) == {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of reads that Orbax breaks off
def test_without_its_manifest_a_damaged_checkpoint_would_be_loaded(made, monkeypatch):
    monkeypatch.setattr(checkpoint.Checkpoints, "_check", lambda self, step: None)
    flips = [t for t in checkpoints.files(made, full=False) if t.args[0].startswith(("a bit", "cut"))]
    assert len(broken(flips)) == len(flips)
    (lost,) = [t for t in checkpoints.missing(made) if t.args[0] == "all are damaged"]
    assert broken([lost])


def test_a_checkpoint_without_a_manifest_would_be_loaded_if_none_were_needed(made, monkeypatch):
    monkeypatch.setattr(checkpoint.Checkpoints, "find", lambda self: 3)
    found = broken(t for t in checkpoints.missing(made) if "lost" in t.args[0] and "older" not in t.args[0])
    assert set(found.values()) == {
        "went on from 3, not from 2",
        "went on from 3, not from 1",
        "went on from 3, not None",
    }


# --- rows


CONTENT = b"".join(json.dumps({"step": step, "seed": seed}).encode() + b"\n" for step in (2, 4) for seed in (0, 1))


def test_rows_cut_at_every_byte_are_kept_as_far_as_they_are_whole(tmp_path, monkeypatch):
    trials = functools.partial(rows.cuts, CONTENT, tmp_path / "metrics.jsonl", 1)
    assert broken(trials()) == {}
    monkeypatch.setattr(writers, "_trim", lambda path, last_step: None)
    kept = {name for name in broken(trials()) if name.startswith(f"at {len(CONTENT)}, ")}
    assert kept == {f"at {len(CONTENT)}, checkpoint at {last}" for last in (-1, 0, 2)}


SMALL = {
    "model.family": "mlp",
    "model.filters": (32, 64),
    "model.dense_dropout": (),
    "augment.ops": (),
    "selection.weights": "last",
    "selection.patience": 0,
}


def test_rows_that_a_checkpoint_has_seen_are_missed(tmp_path, monkeypatch):
    checked = within.experiment(changes=SMALL)
    within.run(checked, tmp_path / "study")
    trials = list(rows.missing(checked, tmp_path / "study", tmp_path, full=False))
    assert broken([trials[0], trials[-1]]) == {}
    monkeypatch.setattr(session._Session, "_check_rows", lambda self, step: None)
    assert len(broken(trials[:1])) == 1


# --- hyper-parameters


def test_every_number_of_a_config_is_finite(monkeypatch):
    assert broken(hypers.refusals()) == {}
    monkeypatch.setattr(fields, "math", types.SimpleNamespace(isfinite=lambda value: True))
    found = broken(hypers.refusals())
    assert found["NaN as optimizer.learning_rate"] == "accepted"


def test_every_hyper_parameter_has_a_program_that_reads_it(tmp_path):
    group = hypers.Group("adam", "map", tmp_path / "g")
    leaves = {hypers.named(path) for path, _ in hypers.jax.tree_util.tree_leaves_with_path(group.group.hyper)}
    tried = {name for _, of_program in hypers.PROGRAMS.values() for name in of_program}
    assert tried <= leaves
    assert len(list(hypers.poisoned("map", tmp_path, full=True))) > 400


def test_a_poisoned_run_is_alone_and_a_silent_one_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(hypers.PROGRAMS, "small", (SMALL, ()))
    group = hypers.Group("small", "vmap", tmp_path / "g")
    found = group.trial("NaN", "schedule.learning_rate", (), 1, np.nan)
    assert (found.name, found.problem) == ("NaN: diverged", "")
    assert group.trial("NaN", "optimizer.momentum", (), 2, np.nan).name == "NaN: no effect"
    rows, results, states = group.whole
    silent = rows[0], {**results[0], "test_loss": None}, states[0]
    assert group.outcome(*silent, 0) == "reported fine"
    other = ([*rows], [*results], [states[0], states[2], states[2]])
    monkeypatch.setattr(group, "trained", lambda hyper: other)
    assert group.trial("NaN", "smoothing", (), 0, np.nan).problem == "the state of run 1 are others"


# --- configs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return others.values(tmp_path_factory.mktemp("others"))


def test_every_key_of_a_config_has_another_value(table):
    assert set(table) == set(config.flatten(config.Experiment()))


@pytest.mark.parametrize(
    ("key", "trial", "guard"),
    [
        ("optimizer.learning_rate", configs.held, (workdir, "_differing", lambda there, config: [])),
        ("population.mode", configs.allowed, (workdir, "ROUNDING", ())),
        ("question", configs.free, (study, "NOT_IN_A_RUN", ())),
    ],
)
def test_a_changed_config_is_held_against_the_one_that_was(key, trial, guard, table, tmp_path, monkeypatch):
    assert trial(key, table[key], tmp_path / "1").problem == ""
    monkeypatch.setattr(*guard)
    assert trial(key, table[key], tmp_path / "2").problem


def test_a_key_that_the_table_lacks_is_a_broken_promise(tmp_path):
    assert "others.py has no other value" in next(
        iter(broken([functools.partial(configs.held, "loss.new", None, tmp_path)]).values())
    )


def test_other_images_under_the_same_name_are_refused(tmp_path, monkeypatch):
    (trial,) = configs.images(tmp_path, full=False)
    assert trial().problem == ""
    compare = workdir._compare

    def careless(directory, there, config, allow=False):
        return compare(directory, {**there, workdir.FINGERPRINT: {}}, {**config, workdir.FINGERPRINT: {}}, allow)

    monkeypatch.setattr(workdir, "_compare", careless)
    assert "not refused" in trial().problem


# --- places and devices


def test_a_page_that_does_not_escape_names_is_seen(monkeypatch):
    name = surroundings.NAMES["HTML"]
    plain, odd = (
        analyse(made_up.study({"a": [1, 2]}, lambda v: 0.5, seeds=3, name=called)) for called in ("plain", name)
    )
    before = page.render(plain)
    assert browsed.problem(page.render(odd), before, name) == ""
    assert "is called" in browsed.problem(before, before, name)
    assert "no policy" in browsed.problem(before.replace("script-src", "x"), before, "plain")
    template = page.template

    def careless(which):
        found = template(which)
        found.environment.autoescape = False
        return found.environment.get_template(which)

    monkeypatch.setattr(page, "template", careless)
    assert "other elements" in browsed.problem(page.render(odd), before, name)


def test_the_clock_of_a_session_goes_as_it_is_told(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(surroundings.CLOCK)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), **surroundings.ENVIRONMENTS["a clock that goes backwards"]}
    code = "import time; a = time.time(); time.sleep(0.01); print(a, time.time(), time.time_ns())"
    said = subprocess.run(
        [sys.executable, "-S", "-c", f"import sitecustomize; {code}"], env=environ, capture_output=True
    )
    first, second, third = map(float, said.stdout.split())
    assert 1.99e9 < second < first - 9 < 2e9
    assert third < 1e9 * second


def test_a_refusal_is_one_line_that_leaves_nothing(tmp_path):
    line = "error: platform='tpu': JAX finds no such device here\n"
    assert devices.problem(2, line, "platform='tpu'", tmp_path / "w") == ""
    assert "exit status 1" in devices.problem(1, line, "platform='tpu'", tmp_path / "w")
    assert "in one line" in devices.problem(2, line * 2, "platform='tpu'", tmp_path / "w")
    assert "in one line" in devices.problem(2, line, "platform='gpu'", tmp_path / "w")
    assert "has made" in devices.problem(2, line, "platform='tpu'", tmp_path)
