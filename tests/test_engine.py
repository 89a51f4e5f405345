"""A study of several arms: failures stay where they happen, finished runs stay as they are, and it can be extended."""

import io
import json
import shutil

import jax
import pandas as pd
import pytest
from helpers import mlp
from matplotlib.axes import Axes
from rich.console import Console

import fmnist_jax
from fmnist_jax import (
    claims,
    config,
    data,
    places,
    population,
    reading,
    results,
    session,
    share,
    study,
    sweep,
    testing,
    workdir,
    writers,
)
from fmnist_jax.checkpoint import Checkpoints
from fmnist_jax.errors import RunError, UserError
from fmnist_jax.report import page

AXES = ["arm", "seed", "fold"]
WIDTHS = sweep.product({"model.dense": ((3,), (6,))})
RATES = sweep.product({"optimizer.learning_rate": (1e-3, 1e-2, 1e-1)})


def go(c, directory, **options):
    """(results, what the terminal showed)."""
    shown = io.StringIO()
    found = study.run(config.parse(c), directory, Console(file=shown, width=120), **options)
    return found, shown.getvalue()


def numbers(directory):
    """The results of a workdir without what differs by clock and by group."""
    table = reading.read(directory).runs.drop(columns=["train_seconds", "group"], errors="ignore")
    return table.sort_values(AXES).reset_index(drop=True)


def numbers_of(c, directory):
    """The same of a study that is run now."""
    go(c, directory)
    return numbers(directory)


def mapped(**changes):
    """Two seeds, mapped: their bits depend on no company."""
    return mlp(**{"population__mode": "map", "seeds": 2, **changes})


def apart(**changes):
    """The same on one device, for what has programs of its own: they are compiled for every device."""
    return mapped(**{"population__devices": 1, **changes})


def seeds(n):
    """The study of two widths with n seeds."""
    c = mapped(sweep=WIDTHS)
    c.seeds = n
    return c


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """A finished study of three learning rates."""
    directory = tmp_path_factory.mktemp("engine") / "rates"
    go(mapped(sweep=RATES), directory)
    return directory


def test_the_table_has_a_row_a_run_and_a_column_a_factor(rates):
    table = reading.read(rates).runs
    assert len(table) == 6
    assert table["arm"].unique().tolist() == [f"learning_rate={x}" for x in (0.001, 0.01, 0.1)]
    assert sorted(table["optimizer.learning_rate"].unique()) == [0.001, 0.01, 0.1]
    assert table["test_accuracy"].between(0, 1).all()
    assert (table["train_seconds"] > 0).all()
    written = pd.read_csv(rates / "results.csv")
    assert written["test_accuracy"].tolist() == table["test_accuracy"].tolist()


def test_law_1_an_arm_has_the_bits_it_has_in_a_study_of_its_own(rates, tmp_path):
    alone = numbers_of(mapped(optimizer__learning_rate=1e-2), tmp_path)
    among = numbers(rates)
    among = among[among["arm"] == "learning_rate=0.01"].reset_index(drop=True)
    for metric in ("train_loss", "validation_loss", "test_loss"):
        assert alone[metric].tolist() == among[metric].tolist()


def test_a_study_cut_by_memory_has_the_same_table(rates, tmp_path):
    whole = numbers(rates)
    assert len(list(rates.glob("groups/*"))) == 1
    cut = numbers_of(mapped(sweep=RATES, population__memory_gb=0.001), tmp_path)
    assert len(list(tmp_path.glob("groups/*"))) > 1
    pd.testing.assert_frame_equal(cut, whole)


def test_more_seeds_train_the_new_ones_alone(tmp_path):
    go(seeds(2), tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.glob("groups/*/done.json")}
    found, _ = go(seeds(3), tmp_path)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(found.table) == 6
    fresh = numbers_of(seeds(3), tmp_path / "fresh")
    pd.testing.assert_frame_equal(numbers(tmp_path), fresh)
    fewer, _ = go(seeds(2), tmp_path)
    assert len(fewer.table) == 4


def test_more_arms_train_the_new_ones_alone_and_old_ones_may_get_new_names(tmp_path):
    go(mapped(sweep=sweep.product({"optimizer.learning_rate": (1e-3, 1e-2)})), tmp_path)
    done = (tmp_path / "groups/0/done.json").read_bytes()
    found, _ = go(mapped(sweep=RATES), tmp_path)
    assert (tmp_path / "groups/0/done.json").read_bytes() == done
    assert len(found.table) == 6
    assert len(json.loads((tmp_path / "groups/1/done.json").read_text())["results"]) == 2


def test_out_of_memory_is_retried_at_half_the_width(tmp_path, monkeypatch):
    real = population.Population.segment
    widths = []

    def segment(self, *arguments):
        widths.append(self.runs)
        if self.runs > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")
        return real(self, *arguments)

    monkeypatch.setattr(population.Population, "segment", segment)
    found, shown = go(mapped(sweep=RATES), tmp_path)
    assert widths[0] == 6
    assert list(dict.fromkeys(widths)) == [6, 3, 1, 2]
    assert "out of memory; its runs go on in two groups of half the width" in shown
    assert len(found.table) == 6
    assert not found.study.failures
    monkeypatch.undo()
    pd.testing.assert_frame_equal(numbers(tmp_path), numbers_of(mapped(sweep=RATES), tmp_path / "fresh"))


def test_out_of_memory_with_one_run_is_a_failure_of_that_group(tmp_path, monkeypatch):
    def segment(self, *_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(population.Population, "segment", segment)
    with pytest.raises(
        RunError, match="2 of 2 groups failed: groups/1: out of memory with one run alone; take a smaller"
    ):
        go(mapped(), tmp_path)


@pytest.fixture
def failing(monkeypatch):
    """Makes the group of three hidden units fail; returns how often it was tried."""
    real, tried = session.train_group, []

    def train_group(group, *arguments):
        if group.static.model.dense[0].units == 3:
            tried.append(group.name)
            raise ValueError("a bad\nday")
        real(group, *arguments)

    monkeypatch.setattr(session, "train_group", train_group)
    return tried


def test_a_failed_group_is_recorded_and_the_study_goes_on(tmp_path, failing, monkeypatch):
    c = mapped(sweep=WIDTHS)
    with pytest.raises(
        RunError, match="1 of 2 groups failed: groups/0: ValueError: a bad day; --retry .* trains them again"
    ):
        go(c, tmp_path)
    study_now = reading.read(tmp_path)
    assert study_now.runs["arm"].unique().tolist() == ["dense=6"]
    assert study_now.runs["test_accuracy"].notna().all()
    assert study_now.failures[0]["arms"] == ["dense=3"]
    assert len(study_now.failures[0]["runs"]) == 2
    assert study_now.unfinished == 0
    assert "Traceback" in json.loads((tmp_path / "groups/0/failed.json").read_text())["traceback"]
    with pytest.raises(RunError, match="1 of 2 groups failed"):
        go(c, tmp_path)
    assert failing == ["0"]  # the same command does not try it again
    monkeypatch.undo()
    monkeypatch.setattr(population.Population, "init", _counted(done := []))
    found, _ = go(c, tmp_path, retry=True)
    assert len(done) == 1  # the finished group is not trained again
    assert len(found.table) == 4
    assert not found.study.failures


def _counted(calls):
    real = population.Population.init

    def init(self, inputs):
        calls.append(self.runs)
        return real(self, inputs)

    return init


def test_folds_are_an_axis(tmp_path):
    found, _ = go(apart(folds=3, sweep=WIDTHS), tmp_path)
    assert found.table.groupby("arm").size().tolist() == [6, 6]
    assert sorted(found.table["fold"].unique()) == [0, 1, 2]
    assert found.study.validation_size == 80
    assert found.study.train_size == 160
    assert found.compare("dense=6", "dense=3").n == 6


def test_the_chosen_arm_is_trained_on_everything_and_tested(tmp_path):
    c = apart(folds=3, sweep=WIDTHS, metric="validation_accuracy", evaluation__test="chosen")
    c.selection.refit = True
    found, shown = go(c, tmp_path)
    chosen = found.study.facts["refit"]["arm"]
    means = found.table.groupby("arm")["validation_accuracy"].mean()
    assert chosen == means.idxmax()
    assert found.study.facts["refit"]["test_accuracy_n"] == 2
    tested = found.table.loc[found.table["test_accuracy"].notna(), "arm"].unique()
    assert tested.tolist() == [chosen]
    assert f"validation chose {chosen}" in shown
    rows = json.loads((tmp_path / "refit/done.json").read_text())["results"]
    assert {row["step"] for row in rows} == {2 * (240 // 16)}  # two epochs of all 240 images
    assert "validation_loss" not in rows[0]
    again, _ = go(c, tmp_path)
    assert again.study.facts["refit"] == found.study.facts["refit"]


def test_the_refit_lasts_as_long_as_the_chosen_epochs_by_median(tmp_path):
    c = apart(metric="validation_accuracy", optimizer__learning_rate=0.1, train__duration="6 epochs")
    c.selection.refit, c.selection.weights = True, "best"
    found, _ = go(c, tmp_path)
    assert found.table["epoch"].median() < 6
    contents = json.loads((tmp_path / "refit/group.json").read_text())
    assert contents["duration"] == f"{found.table['epoch'].median():g} epochs"


def test_a_stopped_run_has_no_rows_after_it_stopped_and_its_group_ends(tmp_path):
    c = apart(sweep=sweep.product({"optimizer.learning_rate": (1e-30, 1e-3)}), train__duration="12 epochs")
    c.selection.patience = 2
    found, _ = go(c, tmp_path)
    stopped = found.table.set_index("arm")["stopped_at"].filter(like="1e-30")
    assert stopped.tolist() == [39.0, 39.0]  # evaluations at 13 (the first is the best so far), 26, 39
    rows = found.curves
    assert rows[rows["arm"].str.contains("1e-30")]["step"].max() == 39
    assert rows[rows["arm"] == "learning_rate=0.001"]["step"].max() > 39
    c = apart(optimizer__learning_rate=1e-30, train__duration="100000 epochs")
    c.selection.patience = 2
    found, _ = go(c, tmp_path / "all")
    assert found.table["step"].tolist() == [39, 39]


def test_with_the_best_weights_results_are_of_the_best_epoch(tmp_path):
    c = apart(optimizer__learning_rate=0.1, train__duration="8 epochs", evaluation__test_curves=True)
    c.selection.weights, c.selection.monitor = "best", "validation_accuracy"
    found, _ = go(c, tmp_path)
    for run in found.table.to_dict("records"):
        own = found.curves[found.curves["seed"] == run["seed"]].reset_index(drop=True)
        best = own.loc[own["validation_accuracy"].idxmax()]
        assert run["epoch"] == best["epoch"]
        assert run["test_loss"] == best["test_loss"]  # the weights are those of that epoch
    assert (found.table["epoch"] < 8).any()


def test_rows_are_written_when_the_checkpoint_before_them_counts(tmp_path, monkeypatch):
    """So a kill at any moment costs no more than lies between two checkpoints, however slow the disk."""
    write, found = writers.RowWriter.write, []
    monkeypatch.setattr(Checkpoints, "poll", lambda own: None)  # as if each save lasted as long as a segment

    def looked_at(own, rows):
        manifests = (own.path.parent / "checkpoints").glob("*.manifest.json")
        found.append((rows[0]["step"], max((int(p.name.split(".")[0]) for p in manifests), default=0)))
        write(own, rows)

    monkeypatch.setattr(writers.RowWriter, "write", looked_at)
    go(mlp(train__duration="3 epochs", seeds=1), tmp_path / "w")
    assert found == [(13, 0), (26, 13), (39, 26)]


def test_a_running_study_can_be_read(tmp_path, rates):
    directory = tmp_path / "running"
    shutil.copytree(rates, directory)
    for name in ("done.json", "test.json"):
        (directory / "groups/0" / name).unlink()
    path = directory / "groups/0/metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])  # in the middle of a write
    now = reading.read(directory)
    assert now.unfinished == 6
    assert now.metric == "validation_accuracy"
    assert len(now.runs) == 6
    assert now.runs["step"].tolist().count(13) == 1


def test_the_answer_is_shown_and_the_images_most_often_wrong_are_kept(rates, tmp_path):
    _, shown = go(mapped(sweep=RATES), rates)
    for words in (
        "best",
        "learning_rate",
        "SYNTHETIC DATA",
        "rates: test accuracy, %",
        "6 runs of 4,780 parameters in 1 group",
    ):
        assert words in shown
    wrong = reading.read(rates).wrong
    assert 0 < len(wrong) <= 24
    assert [w["share"] for w in wrong] == sorted((w["share"] for w in wrong), reverse=True)
    assert all(w["label"] != w["predicted"] for w in wrong)
    confusion = reading.read(rates).confusions["learning_rate=0.1"]
    assert confusion.shape == (10, 10)


def test_arms_are_compared_image_by_image(rates):
    found = results.Results.load(rates)
    a, b, c = found.study.arms
    table = found.compare_examples(a, b)
    assert table["seed"].tolist() == [0, 1]
    runs = found.table.set_index(["arm", "seed"])["test_accuracy"]
    images = found.study.confusions[a].sum() / 2
    for row in table.to_dict("records"):
        difference = runs[a, row["seed"]] - runs[b, row["seed"]]
        assert (row[f"only {a}"] - row[f"only {b}"]) / images == pytest.approx(difference)
    assert found.compare_examples(a, b, c)["p"].between(0, 1).all()
    with pytest.raises(UserError, match="arm 'd': has not read the test set; there are learning_rate=0.001"):
        found.compare_examples(a, "d")


def test_the_notebook_way(tmp_path):
    found = fmnist_jax.run(mapped(sweep=WIDTHS), str(tmp_path / "w"))
    assert found.table["arm"].nunique() == 2
    summary = found.summary()
    assert summary.loc["dense=6", "n"] == 2
    assert summary.loc["dense=6", "mean"] == pytest.approx(
        found.table.loc[found.table["arm"] == "dense=6", "test_accuracy"].mean()
    )
    compared = found.compare("dense=6", "dense=3")
    assert compared.mean == pytest.approx(summary.loc["dense=6", "mean"] - summary.loc["dense=3", "mean"])
    with pytest.raises(UserError, match="arm 'dense=9': no finished run; there are dense=3, dense=6"):
        found.compare("dense=9", "dense=3")
    with pytest.raises(UserError, match="metric 'accuracy': not measured; there are test_accuracy"):
        found.summary("accuracy")
    loaded = results.Results.load(tmp_path / "w")
    pd.testing.assert_frame_equal(loaded.table, found.table)


def test_a_claim_that_is_none_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match="claims"):
        go(mapped(sweep=WIDTHS, claims=({"name": "A1", "kind": "grater"},)), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_paired_runs_of_one_seed_share_their_first_weights_and_their_order(tmp_path):
    """What makes a difference between arms a paired one: arms that do not move lose the same, seed by seed."""
    found, _ = go(mapped(sweep=sweep.product({"optimizer.learning_rate": (1e-30, 2e-30)})), tmp_path)
    losses = found.table.pivot_table("train_loss", index="seed", columns="arm").to_numpy()
    assert (losses[:, 0] == losses[:, 1]).all()
    assert losses[0, 0] != losses[1, 0]


def test_claims_may_be_edited_and_judged_again_but_study_json_not_broken(rates, tmp_path):
    shutil.copytree(rates, tmp_path / "copy")
    path = tmp_path / "copy/study.json"
    about = json.loads(path.read_text())
    claim = claims.at_least("A", 0.0)
    path.write_text(json.dumps(about | {"claims": [claim]}))
    assert [v.name for v in results.Results.load(tmp_path / "copy").verdicts] == ["A"]
    del about["claims"]
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match="study.json: no claims; the study's own command writes it anew"):
        reading.read(tmp_path / "copy")


def test_a_run_in_two_groups_is_an_error_by_name(rates, tmp_path):
    shutil.copytree(rates, tmp_path / "copy")
    shutil.copytree(rates / "groups/0", tmp_path / "copy/groups/1")
    with pytest.raises(RunError, match="a run is in two groups"):
        reading.read(tmp_path / "copy")


def test_groups_are_divided_under_the_lock(tmp_path, monkeypatch):
    """Another process finishes the study between the first look and the lock: nothing is trained twice."""
    real = workdir.lock

    def lock(directory, shared=False):
        monkeypatch.setattr(workdir, "lock", real)
        go(mapped(sweep=WIDTHS), tmp_path)
        return real(directory)

    monkeypatch.setattr(workdir, "lock", lock)
    found, _ = go(mapped(sweep=WIDTHS), tmp_path)
    assert len(found.table) == 4
    assert len(list(tmp_path.glob("groups/*"))) == 2


@pytest.mark.parametrize("by", [share.ALONE, share.parse(None, True)], ids=str)
def test_the_test_set_is_read_with_the_last_weights_or_not_at_all(tmp_path, by):
    """Last checkpoints are damaged after training: their segments are trained again, to the same numbers."""
    go(mapped(sweep=WIDTHS, evaluation__test="none", metric="validation_accuracy"), tmp_path)
    for group in ("0", "1"):
        _damage(tmp_path / "groups" / group / "checkpoints/26")
    _, shown = go(mapped(sweep=WIDTHS), tmp_path, share=by)
    assert shown.count("its last checkpoint is not whole") == 2
    pd.testing.assert_frame_equal(numbers(tmp_path), numbers_of(mapped(sweep=WIDTHS), tmp_path / "fresh"))


def _damage(checkpoint):
    largest = max(checkpoint.rglob("*"), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-9])


def test_the_shard_that_comes_last_trains_anothers_damaged_group_again(tmp_path):
    c = mapped(sweep=WIDTHS)
    wanted = numbers_of(c, tmp_path / "whole")
    go(c, tmp_path / "w", share=share.parse("0/2", False))
    _damage(tmp_path / "w/groups/0/checkpoints/26")
    go(c, tmp_path / "w", share=share.parse("1/2", False))
    pd.testing.assert_frame_equal(numbers(tmp_path / "w"), wanted)


def test_a_refit_whose_last_checkpoint_is_damaged_before_its_test_is_trained_again(tmp_path):
    c = mapped(selection__refit=True)
    whole, _ = go(c, tmp_path)
    (tmp_path / "refit/test.json").unlink()
    _damage(max((tmp_path / "refit/checkpoints").glob("[0-9]*[0-9]"), key=lambda p: int(p.name)))
    found, shown = go(c, tmp_path)
    assert "its last checkpoint is not whole" in shown
    assert (tmp_path / "refit/test.json").exists()
    pd.testing.assert_frame_equal(found.table.drop(columns="train_seconds"), whole.table.drop(columns="train_seconds"))


def test_numbers_of_layers_may_differ_between_arms(tmp_path):
    found, shown = go(apart(sweep=sweep.product({"model.dense": ((6,), (6, 3), ())}), seeds=1), tmp_path)
    (factor,) = found.study.factors
    assert list(factor.values) == [6, "6, 3", "none"]
    assert set(pd.read_csv(tmp_path / "results.csv")["model.dense"]) == {"6", "6, 3", "none"}
    assert "6, 3" in shown


def test_what_a_kill_left_unwritten_is_written_by_the_same_command(tmp_path):
    c = mapped(sweep=WIDTHS)
    go(c, tmp_path)
    wanted = {name: (tmp_path / name).read_bytes() for name in ("results.csv", "outcomes.json")}
    for name in (*wanted, "tables.json"):
        (tmp_path / name).unlink()
    go(c, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in wanted} == wanted
    c.seeds = 1
    go(c, tmp_path)
    assert len(pd.read_csv(tmp_path / "results.csv")) == 2
    images = len(data.load("synthetic:240").test_labels)
    assert reading.read(tmp_path).confusions["dense=3"].sum() == images


def refitted(**changes):
    """The study of two widths, whose chosen arm is trained on everything."""
    c = apart(sweep=WIDTHS, **changes)
    c.selection.refit = True
    return c


def test_a_refit_of_another_arm_or_of_other_seeds_is_not_shown_as_this_ones(tmp_path):
    first, _ = go(refitted(), tmp_path)
    chosen = first.study.facts["refit"]["arm"]
    c = refitted()
    c.seeds = 3
    assert go(c, tmp_path)[0].study.facts["refit"]["test_accuracy_n"] == 3
    other = next(arm for arm in first.study.arms if arm != chosen)
    c = refitted()
    c.sweep = tuple(o for o in WIDTHS if f"dense={o['model.dense'][0]}" == other)
    assert go(c, tmp_path)[0].study.facts["refit"]["arm"] == "base"
    assert "refit" not in go(apart(sweep=WIDTHS), tmp_path)[0].study.facts


def test_a_kill_while_an_old_refit_goes_leaves_nothing_half(tmp_path, monkeypatch):
    go(refitted(), tmp_path)
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: path.name == "refit.old" and path.exists() and 1 / 0)
    c = refitted()
    c.seeds = 3
    with pytest.raises(ZeroDivisionError):
        go(c, tmp_path)
    monkeypatch.undo()
    assert go(c, tmp_path)[0].study.facts["refit"]["test_accuracy_n"] == 3


def test_a_refit_that_cannot_be_is_recorded_and_the_rest_is_written(tmp_path):
    """Its chosen epochs are fewer than the warm-up."""
    c = refitted(schedule__warmup_epochs=7.5, optimizer__learning_rate=0.1, train__duration="8 epochs")
    c.selection.weights = "best"
    with pytest.raises(RunError, match="refit: schedule.warmup_epochs=7.5: not shorter than the training"):
        go(c, tmp_path)
    assert len(pd.read_csv(tmp_path / "results.csv")) == 4
    assert reading.read(tmp_path).runs["test_accuracy"].notna().all()


def test_out_of_memory_in_the_test_is_retried_at_half_the_width(rates, tmp_path, monkeypatch):
    real, widths = testing.predict_test, []

    def predict(runs, *arguments):
        widths.append(runs.runs)
        if runs.runs > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return real(runs, *arguments)

    monkeypatch.setattr(testing, "predict_test", predict)
    go(mapped(sweep=RATES), tmp_path)
    assert widths == [6, 3, 2, 2, 2]
    pd.testing.assert_frame_equal(numbers(tmp_path), numbers(rates))


def test_a_failed_arm_can_be_taken_out_of_the_sweep(tmp_path, failing):
    with pytest.raises(RunError):
        go(mapped(sweep=WIDTHS), tmp_path)
    found, _ = go(mapped(sweep=WIDTHS[1:]), tmp_path)
    assert not found.study.failures
    assert found.study.unfinished == 0


def test_nothing_is_chosen_while_a_group_has_failed(tmp_path, failing, monkeypatch):
    c = mapped(sweep=WIDTHS, metric="validation_accuracy", evaluation__test="chosen")
    with pytest.raises(RunError):
        go(c, tmp_path)
    assert "test_accuracy" not in reading.read(tmp_path).runs
    monkeypatch.undo()
    found, _ = go(c, tmp_path, retry=True)
    assert found.table["test_accuracy"].notna().sum() == 2


def test_a_config_that_is_corrected_before_the_first_checkpoint_gets_new_groups(tmp_path, monkeypatch):
    def interrupted(*_):
        raise session.Interrupted(2, 0)

    monkeypatch.setattr(session, "train_group", interrupted)
    with pytest.raises(session.Interrupted):
        go(mapped(folds=3), tmp_path)
    monkeypatch.undo()
    found, _ = go(mapped(model__dense=(3,)), tmp_path)
    assert len(found.table) == 2
    assert set(found.table["parameters"]) == {784 * 3 + 3 + 40}


def test_two_data_sets_in_a_sweep(tmp_path):
    sets = sweep.product({"dataset.name": ("synthetic:240", "synthetic:300")})
    go(apart(sweep=sets[:1]), tmp_path)
    found, _ = go(apart(sweep=sets), tmp_path)  # extended by another
    assert found.study.synthetic
    assert len(found.table) == 4
    a, b = found.study.arms
    with pytest.raises(UserError, match="their test sets are not the same"):
        found.compare_examples(a, b)


def test_images_a_second_count_the_steps_that_were_made(tmp_path):
    c = apart(optimizer__learning_rate=1e-30, train__duration="100000 epochs")
    c.selection.patience = 2
    go(c, tmp_path)
    (path,) = tmp_path.glob("groups/0/sessions/*.json")
    timing = json.loads(path.read_text())
    assert timing["images"] == 2 * 39 * 16


def test_an_arm_is_itself_however_the_sweep_comes_to_it(tmp_path):
    go(mapped(), tmp_path)
    go(mapped(sweep=sweep.product({"optimizer.learning_rate": (1e-3, 1e-2)})), tmp_path)
    found, _ = go(
        mapped(sweep=sweep.product({"optimizer.learning_rate": (1e-3, 1e-2), "loss.smoothing": (0, 0.1)})), tmp_path
    )
    assert [len(p.runs) for p in places.there(tmp_path)] == [2, 2, 4]
    assert len(found.table) == 8


def test_very_long_names_and_strange_directories_do_no_harm(tmp_path):
    long = tuple({"optimizer.learning_rate": 0.1234567890123 + i / 97, "variant": "x" * 280 + str(i)} for i in range(2))
    c = mapped(sweep=long, writers__tensorboard=True)
    (tmp_path / "groups/0.bak").mkdir(parents=True)
    (tmp_path / "groups/0.bak/group.json").write_text("{}")
    found, _ = go(c, tmp_path)
    assert len(found.table) == 4
    assert len(list((tmp_path / "tensorboard").iterdir())) == 4


def test_plots_are_matplotlib_axes(rates):
    found = results.Results.load(rates)
    drawn = [
        found.plot_curves(),
        found.plot_dots(),
        found.plot_slices("learning_rate"),
        found.plot_histogram("optimizer.learning_rate"),
        found.plot_confusion(),
        found.plot_time(),
    ]
    assert all(isinstance(ax, Axes) for ax in drawn)
    assert drawn[2].get_xlabel() == "learning_rate"
    with pytest.raises(UserError, match="factor 'width': there is none; there are learning_rate"):
        found.plot_slices("width")


def test_the_page_of_a_running_study_says_that_it_is_one(rates, tmp_path):
    shutil.copytree(rates, tmp_path / "copy")
    for name in ("done.json", "test.json"):
        (tmp_path / "copy/groups/0" / name).unlink()
    with workdir.lock(tmp_path / "copy"):  # as the process that trains holds it
        path = page.write(results.Results.load(tmp_path / "copy").analysis, tmp_path / "copy")
    assert "6 of 6 runs not finished: this page is a snapshot." in path.read_text()
