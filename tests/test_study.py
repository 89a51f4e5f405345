"""A study from config to files, in this process: what is written, resumed, refused and never touched."""

import dataclasses
import io
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import mlp, tiny
from rich.console import Console

from fmnist_jax import config, data, results, session, study, sweep, workdir, writers
from fmnist_jax.errors import RunError, StorageError, UserError


def run(c, directory, **options):
    """(summary, what the terminal showed)."""
    shown = io.StringIO()
    study.run(config.parse(c), directory, Console(file=shown, width=80), **options)
    return json.loads((directory / "summary.json").read_text()), shown.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study of three tiny CNNs, and what the terminal showed."""
    directory = tmp_path_factory.mktemp("study") / "tiny"
    return directory, *run(tiny(writers__tensorboard=True), directory)


def rows(directory):
    return [json.loads(line) for line in (directory / "groups/0/metrics.jsonl").read_text().splitlines()]


def test_every_evaluation_of_every_run_has_a_row(done):
    got = [(r["step"], r["seed"]) for r in rows(done[0])]
    assert got == [(step, seed) for step in (13, 26) for seed in (0, 1, 2)]  # 216 training images, batch 16
    assert {r["dataset"] for r in rows(done[0])} == {"synthetic:240"}


def test_tables_say_what_the_jsonl_says(done):
    directory = done[0]
    frame = pd.read_parquet(directory / "metrics.parquet")
    assert frame.to_dict("records")[0]["train_loss"] == rows(directory)[0]["train_loss"]
    assert len(pd.read_csv(directory / "metrics.csv")) == 6
    results = pd.read_csv(directory / "results.csv")
    assert results["seed"].tolist() == [0, 1, 2]
    summary = done[1]["arms"]["base"]["test_accuracy"]
    assert summary["mean"] == pytest.approx(results["test_accuracy"].mean())
    assert summary["sd"] == pytest.approx(results["test_accuracy"].std())
    assert summary["best"] == results["test_accuracy"].max()
    assert list((directory / "tensorboard").glob("*/events.*"))


def test_every_evaluation_is_in_one_json_file_where_asked_for(tmp_path):
    c = mlp(seeds=1, folds=2, population__devices=1, sweep=sweep.product({"optimizer.learning_rate": (1e-2, 1e30)}))
    run(c, tmp_path)
    assert not (tmp_path / "statistics.json").exists()
    c.writers.statistics = True  # also of a study that is done
    run(c, tmp_path)
    kept = json.loads((tmp_path / "statistics.json").read_text())
    assert list(kept) == ["learning_rate=0.01", "learning_rate=1e+30"]
    assert list(kept["learning_rate=0.01"]) == ["seed 0, fold 0", "seed 0, fold 1"]
    assert kept["learning_rate=1e+30"]["seed 0, fold 1"]["train_loss"] == [None, None]  # it diverged
    curves = pd.read_parquet(tmp_path / "metrics.parquet")
    for arm, runs in kept.items():
        for name, columns in runs.items():
            own = curves[(curves["arm"] == arm) & (curves["fold"] == int(name[-1]))]
            assert columns["epoch"] == [1.0, 2.0]
            for column in ("step", "train_loss", "validation_accuracy", "validation_ece"):
                assert columns[column] == writers.as_json(own[column])
    written = (tmp_path / "statistics.json").stat().st_mtime_ns
    run(c, tmp_path)
    assert (tmp_path / "statistics.json").stat().st_mtime_ns == written
    about = json.loads((tmp_path / "study.json").read_text())
    del about["statistics"]  # as before there was such a key
    (tmp_path / "study.json").write_text(json.dumps(about))
    results.write(tmp_path, Console(quiet=True))
    assert (tmp_path / "statistics.json").stat().st_mtime_ns == written


def test_predictions_are_those_of_the_results(done):
    directory = done[0]
    with np.load(directory / "groups/0/predictions.npz") as file:
        predictions = file["test"]
    results = json.loads((directory / "groups/0/test.json").read_text())["results"]
    labels = data.load("synthetic:240").test_labels
    assert [r["test_accuracy"] for r in results] == pytest.approx((predictions == labels).mean(1))
    for i, result in enumerate(results):
        confusion = np.zeros((10, 10), int)
        np.add.at(confusion, (labels, predictions[i]), 1)
        assert np.array_equal(confusion, result["test_confusion"])


def test_the_environment_is_there(done):
    environment = json.loads((done[0] / "environment.json").read_text())
    assert environment["packages"]["jax"]
    assert environment["devices"]
    assert json.loads((done[0] / "config.json").read_text())["model.filters"] == [4]


def test_the_terminal_says_what_matters(done):
    shown = done[2]
    for words in ("SYNTHETIC DATA", "95% interval", "step 26/26", "images/s", "3 runs", done[0].name, "±"):
        assert words in shown
    assert max(map(len, shown.splitlines())) < 200


def test_again_trains_nothing_and_shows_the_table_again(done, monkeypatch):
    monkeypatch.setattr(session, "train_group", lambda *_: pytest.fail("trained again"))
    _, shown = run(tiny(), done[0])
    assert shown[shown.index("tiny") :] == done[2][done[2].index("tiny  (SYN") :]


def test_a_damaged_newest_checkpoint_costs_a_segment_and_no_bits(done, tmp_path):
    directory = tmp_path / "copy"
    run(tiny(), directory)
    group = directory / "groups" / "0"
    before = {name: (group / name).read_bytes() for name in ("metrics.jsonl", "done.json")}
    (group / "done.json").unlink()
    largest = max((group / "checkpoints" / "26").rglob("*"), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 4
    largest.write_bytes(content)
    run(tiny(), directory)
    assert {name: (group / name).read_bytes() for name in before} == before
    assert (group / "checkpoints" / "set_aside" / "26-0").is_dir()


def test_another_config_is_refused_with_a_diff(done):
    with pytest.raises(UserError, match="optimizer.learning_rate: 0.001 there, 0.1 now") as caught:
        run(tiny(optimizer__learning_rate=0.1), done[0])
    assert "seeds" not in str(caught.value)
    with pytest.raises(UserError, match="dataset.name: 'synthetic:240' there, 'synthetic:260' now"):
        run(tiny(dataset__name="synthetic:260"), done[0])
    assert not (done[0] / "groups" / "1").exists()


def test_other_images_under_the_same_name_are_refused(tmp_path, monkeypatch):
    run(mlp(), tmp_path)
    (tmp_path / "groups/0/test.json").unlink()
    other = data.load("synthetic:240")
    monkeypatch.setattr(study, "load", lambda *_, **__: dataclasses.replace(other, fingerprint="f00"))
    with pytest.raises(UserError, match="dataset.fingerprint: .*'f00'} now"):
        run(mlp(), tmp_path)


def test_a_finished_study_is_shown_without_its_data(done, monkeypatch):
    monkeypatch.setattr(study, "load", lambda *_, **__: pytest.fail("read the data"))
    assert run(tiny(), done[0])[0] == done[1]


def test_a_config_may_be_corrected_before_the_first_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "train_group", lambda *_: (_ for _ in ()).throw(StorageError("disk full")))
    with pytest.raises(StorageError):
        run(mlp(seeds=2), tmp_path)
    monkeypatch.undo()
    assert run(mlp(train__batch_size=8), tmp_path)[0]["runs"] == 3


def test_a_run_that_breaks_in_its_last_update_has_diverged_too(tmp_path):
    c = mlp(train__duration="1 steps", optimizer__learning_rate=1e30, population__devices=1)
    summary, _ = run(c, tmp_path)
    assert [row["diverged_at"] for row in summary["diverged"]] == [1, 1, 1]


def test_damaged_rows_are_an_error_by_name(done, tmp_path):
    shutil.copytree(done[0], tmp_path / "copy")
    (tmp_path / "copy/groups/0/done.json").unlink()
    path = tmp_path / "copy/groups/0/metrics.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"step"', b'"stp"', 1))
    with pytest.raises(RunError, match="metrics.jsonl: a damaged line"):
        run(tiny(), tmp_path / "copy")
    path.unlink()
    with pytest.raises(RunError, match="metrics.jsonl: 0 rows of step 13, there should be 3"):
        run(tiny(), tmp_path / "copy", retry=True)


def test_law_7_same_config_same_table(done, tmp_path):
    run(tiny(), tmp_path)
    for name in ("groups/0/metrics.jsonl", "groups/0/done.json", "groups/0/test.json", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (done[0] / name).read_bytes()
    ours, theirs = (pd.read_csv(d / "results.csv").drop(columns="train_seconds") for d in (tmp_path, done[0]))
    pd.testing.assert_frame_equal(ours, theirs)


def test_the_second_process_on_a_workdir_is_refused_by_the_name_of_the_first(tmp_path):
    first = f"in use by process {os.getpid()} on "
    with workdir.lock(tmp_path), pytest.raises(UserError, match=first), workdir.lock(tmp_path):
        pass
    with workdir.lock(tmp_path):  # a lock left behind by a finished process blocks nobody
        pass


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a directory; choose another with --workdir"):
        run(tiny(), tmp_path / "file" / "below")


def test_a_refused_config_leaves_nothing_behind(tmp_path):
    for key, value in (("train__batch_size", 5000), ("population__devices", 99)):
        with pytest.raises(UserError, match=f"{value}:"):
            run(tiny(**{key: value}), tmp_path / "w")
        assert not (tmp_path / "w").exists()


def test_law_6_the_test_set_is_not_read_before_every_run_is_trained(tmp_path, monkeypatch):
    class Watched(data.Dataset):
        reads = 0

        def __getattribute__(self, name):
            if name == "test_images":
                Watched.reads += 1
                assert all(
                    (tmp_path / f"w/groups/{i}/done.json").exists() for i in range(2)
                )  # nothing is left to train
            return super().__getattribute__(name)

    whole = data.load("synthetic:240")
    monkeypatch.setattr(study, "load", lambda *_, **__: Watched(**vars(whole)))
    run(mlp(sweep=({"train.batch_size": 16}, {"train.batch_size": 8})), tmp_path / "w")
    assert Watched.reads > 0
    assert "test_loss" not in rows(tmp_path / "w")[0]
    Watched.reads = 0
    run(mlp(evaluation__test="none", metric="validation_accuracy"), tmp_path / "none")
    assert Watched.reads == 0


def test_test_curves_are_there_when_asked_for(tmp_path):
    run(mlp(evaluation__test_curves=True), tmp_path)
    last, result = rows(tmp_path)[-1], json.loads((tmp_path / "groups/0/test.json").read_text())["results"][-1]
    assert last["test_accuracy"] == result["test_accuracy"]


def test_without_a_validation_part(tmp_path):
    summary, shown = run(mlp(dataset__validation_fraction=0.0, population__devices=1), tmp_path / "w")
    assert "validation_accuracy" not in summary["arms"]["base"]
    assert "validation" not in shown.replace(str(tmp_path), "")


def test_runs_that_diverge_are_named_and_left_out(tmp_path):
    summary, shown = run(mlp(optimizer__learning_rate=1e30), tmp_path)
    assert summary["arms"]["base"]["test_accuracy"]["n"] == 0
    assert len(summary["diverged"]) == 3
    assert "diverged, and not in the table: seed 0 at step" in shown
    assert rows(tmp_path)[-1]["train_loss"] is None


def test_real_data_learns(real_data, tmp_path):
    real = {"dataset__name": "fashion_mnist", "dataset__data_dir": str(real_data), "augment__ops": ()}
    summary, _ = run(mlp(**real, train__batch_size=128, model__dense=(32,), seeds=1), tmp_path)
    assert summary["arms"]["base"]["test_accuracy"]["mean"] > 0.80
    assert not summary["synthetic"]
