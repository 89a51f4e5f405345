"""Reference arms: what they are fitted on, what is kept of them, and what they have no part in."""

import dataclasses
import io
import json

import numpy as np
import pytest
from helpers import mlp
from rich.console import Console

from fmnist_jax import analysis, arms, config, data, groups, plan, reading, references, study
from fmnist_jax.errors import UserError
from fmnist_jax.report import page

NAMES = ("svm", "random_forest", "logistic_regression", "k_nearest")


def asked(*names, **changes):
    """A study of one small MLP, two seeds, and these references on 60 of its 216 training images."""
    short = {"seeds": 2, "train__duration": "13 steps", "population__devices": 1}
    changes = {**short, "reference_images": 60, **changes}
    return mlp(references=names, **changes)


def go(c, directory, **options):
    shown = io.StringIO()
    found = study.run(config.parse(c), directory, Console(file=shown, width=120), **options)
    return found, shown.getvalue()


def kept(directory):
    return json.loads((directory / "references.json").read_text())["fits"]


def bench(c, directory):
    """Where the references of a config are fitted, without its study."""
    checked = config.parse(c)
    return references.Bench(directory, checked, arms.arms_of(checked)[0], groups.Workshop(checked))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study with every reference, and what the terminal showed."""
    directory = tmp_path_factory.mktemp("references") / "all"
    return directory, *go(asked(*NAMES), directory)


@pytest.fixture
def counted(monkeypatch):
    """(name, seed) of every fit, which takes no time."""
    calls = []

    def fit(self, name, seed):
        calls.append((name, seed))
        numbers = {"test_accuracy": 0.5, "validation_accuracy": 0.5, "fit_seconds": 1.0, "predict_seconds": 1.0}
        return self.note(name, seed, train_images=self.images, converged=True, **numbers)

    monkeypatch.setattr(references.Bench, "fit", fit)
    return calls


def test_what_is_random_is_repeated_and_the_rest_is_not(done):
    _, found, shown = done
    table = found.references
    assert table["name"].tolist() == ["svm", "random_forest", "random_forest", "logistic_regression", "k_nearest"]
    assert table["seed"].dropna().tolist() == [0, 1]
    assert set(table["train_images"]) == {60}
    assert table["test_accuracy"].between(0.15, 1).all()  # of ten classes
    assert table["validation_accuracy"].between(0.15, 1).all()
    assert (table["fit_seconds"] > 0).all()
    assert table["scikit_learn"].nunique() == 1
    assert table["parameters"].iloc[0] == {"C": 10.0, "kernel": "poly", "degree": 3}
    for words in ("reference 3/5: random forest, seed 1, on 60 images", "same each time", "k nearest"):
        assert words in shown


def test_they_are_no_runs_of_the_study(done):
    directory, found, _ = done
    assert set(found.table["arm"]) == {"base"}
    assert found.study.arms == ("base",)
    summary = json.loads((directory / "summary.json").read_text())
    assert list(summary["arms"]) == ["base"]
    rows = {row["name"]: row for row in summary["references"]}
    assert list(rows) == ["base", "svm", "random forest", "logistic regression", "k nearest"]
    assert rows["base"]["of_study"]
    assert rows["base"]["mean"] == summary["arms"]["base"]["test_accuracy"]["mean"]
    assert (rows["svm"]["n"], rows["svm"]["low"], rows["svm"]["deterministic"]) == (1, None, True)
    forest = found.references.loc[found.references["name"] == "random_forest", "test_accuracy"]
    assert rows["random forest"]["mean"] == pytest.approx(forest.mean())
    assert (rows["random forest"]["n"], rows["random forest"]["deterministic"]) == (2, False)


def test_the_page_has_them_beside_the_best_arm(done):
    html = page.render(analysis.analyse(done[1].study))
    section = html[html.index('<section id="references"') :].split("</section>")[0]
    assert section.count("<tr>") == 1 + 5
    assert "<b>base</b>" in section
    assert "1, the same each time" in section


def test_images_are_of_the_training_part_alone_stratified_and_standardised(tmp_path):
    c = asked("svm")
    made, whole = bench(c, tmp_path), data.load("synthetic:240")
    values, labels = made.train
    split = groups.Workshop(config.parse(c)).split(config.parse(c).dataset)
    row_of = {image.tobytes(): i for i, image in enumerate(whole.train_images)}
    pixels = np.rint(255 * (values * made.std + made.mean)).astype(np.uint8)
    used = {row_of[row.tobytes()] for row in pixels}
    assert values.mean(0) == pytest.approx(0, abs=1e-5)
    assert np.unique(values.std(0).round(3)).tolist() in ([1.0], [0.0, 1.0])
    assert len(used) == 60
    assert used <= set(split.train[0].tolist())
    assert used.isdisjoint(split.validation[0].tolist())
    counts, of_all = np.bincount(labels), np.bincount(whole.train_labels[split.train[0]])
    assert np.abs(counts - of_all * 60 / 216).max() < 1
    _, of_all_images = bench(asked("svm", reference_images=0), tmp_path).train
    assert np.array_equal(of_all_images, whole.train_labels[split.train[0]])


def test_nearest_neighbours_by_hand(tmp_path):
    made = bench(asked("k_nearest"), tmp_path)
    got = made.fit("k_nearest", None)
    (train, labels), (images, truth) = made.train, made.validation
    distances = np.abs(images[:, None].astype(np.float64) - train[None]).sum(-1)
    right = 0
    for row, label in zip(distances, truth, strict=True):
        votes = np.zeros(10)
        for i in np.argsort(row)[:5]:
            votes[labels[i]] += 1 / row[i]
        right += votes.argmax() == label
    assert got["validation_accuracy"] == right / len(truth)


def test_no_result_depends_on_the_threads(tmp_path, monkeypatch):
    found = []
    for jobs in (1, 2):
        monkeypatch.setattr(references, "JOBS", jobs)
        made = bench(asked(*NAMES), tmp_path / str(jobs))
        made.path.parent.mkdir()
        fits = [made.fit("random_forest", 7), made.fit("k_nearest", None)]
        found.append([(fit["test_accuracy"], fit["validation_accuracy"]) for fit in fits])
    assert found[0] == found[1]


def test_a_killed_study_refits_nothing_that_is_kept(tmp_path, counted, monkeypatch):
    real = references.Bench.fit

    def killed(self, name, seed):
        if len(counted) == 2:
            raise KeyboardInterrupt
        return real(self, name, seed)

    monkeypatch.setattr(references.Bench, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        go(asked(*NAMES), tmp_path)
    assert len(reading.read(tmp_path).references) == 2
    monkeypatch.setattr(references.Bench, "fit", real)
    go(asked(*NAMES), tmp_path)
    go(asked(*NAMES), tmp_path)
    assert counted == [(n, s) for n in NAMES for s in ((0, 1) if n == "random_forest" else (None,))]


def test_what_is_asked_for_is_what_is_shown(tmp_path, counted):
    go(asked("svm"), tmp_path)
    found, _ = go(asked("svm", "random_forest"), tmp_path)
    assert counted == [("svm", None), ("random_forest", 0), ("random_forest", 1)]
    assert len(found.references) == 3
    assert len(go(asked("random_forest", seeds=1), tmp_path)[0].references) == 1
    assert go(asked(reference_images=0), tmp_path)[0].study.references == ()
    counted.clear()
    found, _ = go(asked("svm", reference_images=80), tmp_path)
    assert counted == [("svm", None)]  # of other images: fitted anew
    assert found.references["train_images"].tolist() == [80]


def test_without_a_test_there_is_validation_and_the_test_comes_when_asked_for(tmp_path, monkeypatch):
    class Watched(data.Dataset):
        reads = 0

        def __getattribute__(self, name):
            Watched.reads += name == "test_images"
            return super().__getattribute__(name)

    whole = data.load("synthetic:240")
    monkeypatch.setattr(study, "load", lambda *_, **__: Watched(**vars(whole)))
    found, shown = go(asked("svm", metric="validation_accuracy", evaluation__test="none"), tmp_path)
    assert Watched.reads == 0
    assert found.references["test_accuracy"].tolist() == [None]
    assert found.references["validation_accuracy"].notna().all()
    assert "validation accuracy, %" in shown.split("reference arms")[1]
    found, _ = go(asked("svm", metric="validation_accuracy"), tmp_path)
    assert found.references["test_accuracy"].notna().all()


def test_one_that_fails_is_told_kept_and_tried_again_when_asked(tmp_path, counted, monkeypatch):
    real = references.Bench.fit

    def broken(self, name, seed):
        if name == "svm":
            raise MemoryError
        return real(self, name, seed)

    monkeypatch.setattr(references.Bench, "fit", broken)
    found, shown = go(asked("svm", "k_nearest"), tmp_path)
    assert "reference svm: not fitted: out of memory; take fewer reference_images" in shown
    assert found.analysis.references["name"].tolist() == ["base", "k nearest"]
    monkeypatch.setattr(references.Bench, "fit", real)
    counted.clear()
    go(asked("svm", "k_nearest"), tmp_path)
    assert counted == []
    go(asked("svm", "k_nearest"), tmp_path, retry=True)
    assert counted == [("svm", None)]


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("swm",), {}, "references=('swm',): did you mean 'svm'? one of svm, random_forest"),
        (("svm", "svm"), {}, "references=('svm', 'svm'): 'svm' is there twice"),
        ((), {}, "reference_images=60: nothing reads it, because references is ()"),
        (("svm",), {"reference_images": 217}, "reference_images=217: there are only 216 training images"),
        (("svm",), {"reference_images": 9}, "reference_images=9: fewer than the 10 classes"),
        (("svm",), {"population__memory_gb": 1e-4}, "reference_images=60: 60 images of 784 values take about 0.0 GB"),
        (("svm",), {"sweep": ({"references": ()},)}, "references: is the whole study's"),
    ],
)
def test_refused_by_name_before_anything_is_there(tmp_path, names, changes, message):
    for act in (study.run, plan.show):
        with pytest.raises(UserError) as caught:
            act(config.parse(asked(*names, **changes)), tmp_path / "w", Console(quiet=True))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "w").exists()


def test_parts_of_a_paper_keep_theirs_apart(done):
    study_now = done[1].study
    told = tuple({**fit, "part": part} for part in ("one", "two") for fit in study_now.references[:1])
    found = analysis.analyse(dataclasses.replace(study_now, references=told)).references
    assert found["name"].tolist() == ["base", "one: svm", "two: svm"]
