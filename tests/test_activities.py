"""Correlations of activities: as numpy has them in float64, over all images, for every family, mapped and vmapped."""

import io
import json

import numpy as np
import pytest
from helpers import mlp, tiny
from rich.console import Console

from fmnist_jax import activities, checkpoint, config, data, groups, places, programs, reading, study, sweep
from fmnist_jax.errors import UserError

RNG = np.random.default_rng(0)


def go(c, directory):
    return study.run(config.parse(c), directory, Console(file=io.StringIO(), width=100))


def of(features, batch=None):
    """What is measured of features [runs, images, units], and of their first three units as logits."""
    step = batch or features.shape[1]
    parts = [features[:, i : i + step] for i in range(0, features.shape[1], step)]
    return activities.measure({"features": part, "logits": part[..., :3]} for part in parts)


@pytest.mark.parametrize("batch", [7, 50])
def test_they_are_numpy_s(batch):
    mixed = RNG.normal(size=(2, 50, 6)) @ RNG.normal(size=(6, 6)) * 1e-2 + 100  # a mean far from zero
    found = of(mixed.astype(np.float32), batch)
    assert found["features"].dtype == np.float32
    for run in (0, 1):
        wanted = np.corrcoef(mixed[run].astype(np.float32).astype(np.float64).T)
        np.testing.assert_allclose(found["features"][run], wanted, atol=1e-6)
        np.testing.assert_allclose(found["logits"][run], wanted[:3, :3], atol=1e-6)
        columns = activities.columns(found, run)
        assert columns["test_features_correlation_mean"] == pytest.approx(wanted.mean(), abs=1e-6)
        assert columns["test_features_correlation_sd"] == pytest.approx(wanted.std(), abs=1e-6)
        apart = wanted[~np.eye(6, dtype=bool)].mean()
        assert columns["test_features_correlation_offdiagonal"] == pytest.approx(apart, abs=1e-6)
        assert (columns["test_features_units"], columns["test_logits_units"]) == (6, 3)


def test_by_hand():
    x = np.array([[[1, 2, 0], [2, 4, 0], [3, 6, 1]]], np.float32)  # the second is twice the first
    found = of(np.concatenate([x, -x[..., :1]], axis=-1))["features"][0]
    r = 0.75**0.5
    np.testing.assert_allclose(found, [[1, 1, r, -1], [1, 1, r, -1], [r, r, 1, -r], [-1, -1, -r, 1]], atol=1e-7)


def test_a_unit_that_never_varies_is_nan_and_counts_nowhere():
    features = RNG.normal(size=(1, 40, 4)).astype(np.float32)
    features[..., 2] = 0.1
    found = of(features, batch=13)
    assert np.isnan(found["features"][0, 2]).all()
    assert np.isnan(found["features"][0, :, 2]).all()
    wanted = np.corrcoef(features[0][:, [0, 1, 3]].T.astype(np.float64))
    assert activities.columns(found, 0)["test_features_correlation_mean"] == pytest.approx(wanted.mean(), abs=1e-6)


def test_a_run_that_diverged_has_none():
    features = RNG.normal(size=(2, 10, 4)).astype(np.float32)
    features[0, 3] = np.nan
    features[0, 4] = np.inf
    found = of(features)
    assert np.isnan(found["features"][0]).all()
    assert np.isnan(activities.columns(found, 0)["test_features_correlation_sd"])
    assert np.isfinite(found["features"][1]).all()


def test_a_wide_layer_is_measured_at_a_fixed_part_of_its_units():
    features = RNG.normal(size=(1, 5, 2049)).astype(np.float32)
    found, again = of(features), of(features)
    chosen = found["features_units"]
    assert len(set(chosen)) == 1024
    assert np.array_equal(chosen, again["features_units"])
    assert found["features"].shape == (1, 1024, 1024)
    np.testing.assert_allclose(found["features"][0, :9, :9], np.corrcoef(features[0][:, chosen[:9]].T), atol=1e-5)
    assert activities.columns(found, 0)["test_features_units"] == 2049


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A study of two arms that share a group, vmapped, measured over 33 images in batches of 10."""
    directory = tmp_path_factory.mktemp("activities") / "study"
    c = mlp(evaluation__batch_size=10, evaluation__activities=33, population__mode="vmap", seeds=2)
    c.sweep = sweep.product({"optimizer.learning_rate": (1e-3, 1e-2)})
    return c, directory, go(c, directory)


def matrices(directory):
    with np.load(directory / "groups/0/activities.npz") as file:
        return dict(file)


def test_a_study_keeps_them_and_says_them_in_its_table(measured):
    _, directory, found = measured
    kept = matrices(directory)
    assert kept["features"].shape == (4, 6, 6)
    assert kept["logits"].shape == (4, 10, 10)
    assert kept["runs"].tolist() == [0, 1, 2, 3]
    rows = json.loads((directory / "groups/0/test.json").read_text())["results"]
    for matrix, row in zip(kept["logits"], rows, strict=True):
        assert row["test_logits_correlation_mean"] == pytest.approx(np.nanmean(matrix), abs=1e-6)
    assert found.table["test_features_units"].tolist() == [6] * 4
    assert found.table["test_logits_correlation_sd"].notna().all()
    assert "test_logits_correlation_mean" in found.study.metrics
    assert not any(metric.endswith("_units") for metric in found.study.metrics)
    arm = found.study.arms[0]
    own = [i for i, row in enumerate(rows) if row["arm"] == arm]
    np.testing.assert_allclose(found.study.activities[arm]["logits"], kept["logits"][own].mean(0), atol=1e-6)
    of_arm = activities.of_arm([(place, arm) for place in places.there(directory)], {(1, 0)})
    np.testing.assert_allclose(of_arm["logits"], kept["logits"][own[1]], atol=1e-6)


def test_logits_are_those_of_the_predictions(measured):
    """The matrix of hand-made forward passes of the first 33 test images."""
    c, directory, _ = measured
    images = data.load("synthetic:240").test_images[:33].reshape(33, -1) / np.float64(255)
    params = _weights(c, directory)
    hidden = np.maximum(images @ params["dense_0"]["kernel"][0].T + params["dense_0"]["bias"][0], 0)
    logits = hidden @ params["logits"]["kernel"][0].T + params["logits"]["bias"][0]
    np.testing.assert_allclose(matrices(directory)["logits"][0], np.corrcoef(logits.T), atol=1e-4)
    alive = hidden.std(0) > 0
    with np.errstate(invalid="ignore"):
        wanted = np.where(alive[:, None] & alive, np.corrcoef(hidden.T), np.nan)
    np.testing.assert_allclose(matrices(directory)["features"][0], wanted, atol=1e-4)


def _weights(c, directory):
    workshop = groups.Workshop(config.parse(c))
    group = places.there(directory)[0].build(workshop)
    everyone = programs.population_of(group.static, len(group.runs), workshop.checked)
    template = everyone.shapes(programs.seeds_of(group), group.hyper)
    _, state = checkpoint.Checkpoints(directory / "groups/0/checkpoints", 2).restore(template)
    return state.params["head"]


def test_they_can_be_asked_for_later_and_measured_anew(tmp_path):
    c = mlp(seeds=1, population__mode="map")
    before = go(c, tmp_path).table
    assert not (tmp_path / "groups/0/activities.npz").exists()
    assert reading.read(tmp_path).activities == {}
    c.evaluation.activities = 20
    after = go(c, tmp_path)
    assert list(after.study.activities) == ["base"]
    assert after.table["test_loss"].tolist() == before["test_loss"].tolist()
    assert after.table["train_seconds"].tolist() == before["train_seconds"].tolist()  # nothing was trained
    first = matrices(tmp_path)["logits"]
    c.evaluation.activities = 200
    go(c, tmp_path)
    assert not np.array_equal(matrices(tmp_path)["logits"], first, equal_nan=True)


def test_a_cnn_without_hidden_layers_has_features_too(tmp_path):
    c = tiny(seeds=1, model__dense=(), model__dense_dropout=(), evaluation__activities=20, train__duration="1 epochs")
    found = go(c, tmp_path)
    assert found.table["test_features_units"].tolist() == [14 * 14 * 4]


def test_nothing_reads_it_without_a_test():
    with pytest.raises(UserError, match="evaluation.activities=5: nothing reads it, because evaluation.test is 'none'"):
        config.parse(mlp(evaluation__activities=5, evaluation__test="none", metric="validation_accuracy"))
