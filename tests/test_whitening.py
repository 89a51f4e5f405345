"""Whitening filters: what they compute, of which images alone, and that training leaves them as they are."""

import io

import jax
import numpy as np
import pytest
from helpers import images, resolved, run_of, same_bits, tiny
from rich.console import Console

from fmnist_jax import arms, config, groups, memory, models, places, refit, session, study, testing, whitening
from fmnist_jax.errors import UserError

WHITE = {
    "model__whiten": 2,
    "train__duration": "2 steps",
    "evaluation__test": "none",
    "metric": "validation_accuracy",
    "population__conv": "lax",  # compiles soonest
    "population__devices": 1,
}


def patches_of(pixels, size):
    """[n, size * size * C] float64 in [0, 1], a patch at a time."""
    height, width = (n - size + 1 for n in pixels.shape[1:3])
    found = [pixels[:, i : i + size, j : j + size] for i in range(height) for j in range(width)]
    return np.concatenate([one.reshape(len(pixels), -1) for one in found]) / 255.0


@pytest.mark.parametrize(("size", "channels"), [(2, 1), (3, 1), (2, 3)])
def test_filtered_patches_are_uncorrelated_and_of_variance_one(size, channels):
    rng = np.random.default_rng(0)
    pixels = (255 * rng.uniform(size=(50, 8, 9, channels)).cumsum(1).cumsum(2) / 80).astype(np.uint8)
    found = whitening.filters(whitening.covariance(pixels, np.arange(50), size), 1e-3, size)
    half = size**2 * channels
    assert found.shape == (size, size, channels, 2 * half) == (size, size, channels, whitening.channels(size, channels))
    assert found.dtype == np.float32
    assert same_bits(found[..., half:], -found[..., :half])
    out = patches_of(pixels, size) / 1e-3 @ found.reshape(half, -1)[:, :half]
    np.testing.assert_allclose(np.cov(out.T), np.eye(half), atol=1e-3)  # at so small a std, EPSILON is nearly nothing


def test_two_pixels_by_hand():
    """Patches of one pixel and two channels: 0 or 1, half of each, and always 0; variances 1/4 and 0."""
    pixels = np.zeros((1, 2, 2, 2), np.uint8)
    pixels[0, 1, :, 0] = 255
    covariance = whitening.covariance(pixels, np.array([0]), 1)
    np.testing.assert_array_equal(covariance, [[255**2 / 4, 0], [0, 0]])
    dead, live = 1 / np.sqrt(whitening.EPSILON), 1 / np.sqrt(0.25 / 0.5**2 + whitening.EPSILON)
    found = whitening.filters(covariance, 0.5, 1)[0, 0]
    np.testing.assert_allclose(np.abs(found), [[0, live, 0, live], [dead, 0, dead, 0]], rtol=1e-6)


def test_the_covariance_is_of_the_indexed_images_in_any_order_and_any_chunks(monkeypatch):
    pixels, _ = images(60)
    indices = np.array([40, 3, 7, 21, 22, 59])
    found = whitening.covariance(pixels, indices, 3)
    np.testing.assert_allclose(found / 255**2, np.cov(patches_of(pixels[indices], 3).T, bias=True), rtol=1e-9)
    others = np.setdiff1d(np.arange(60), indices)
    pixels[others] = 255 - pixels[others]
    monkeypatch.setattr(whitening, "CHUNK_BYTES", 1)
    assert same_bits(whitening.covariance(pixels, indices[::-1], 3), found)


def test_a_sample_is_spread_over_all_of_a_large_set(monkeypatch):
    monkeypatch.setattr(whitening, "SAMPLE", 4)
    pixels, _ = images(10)
    found = whitening.covariance(pixels, np.arange(10), 2)
    assert same_bits(found, whitening.covariance(pixels, np.array([0, 3, 6, 9]), 2))


def test_the_network_convolves_with_them_before_its_first_block():
    static, hyper = resolved(
        tiny(**WHITE, model__pool=("none",), model__norm=("none",), model__dense=(), model__dense_dropout=())
    )
    module = models.MODELS["cnn"](static.model)
    pixels, _ = images(4)
    inputs = pixels.astype(np.float32) / 255
    variables = module.init(jax.random.key(0), inputs, hyper, train=False)
    filters = whitening.filters(whitening.covariance(pixels, np.arange(4), 2), 1.0, 2)
    assert variables["batch_stats"]["whiten"].shape == filters.shape

    def logits(params):
        given = {"params": params, "batch_stats": {"whiten": filters}}
        return module.apply(given, inputs, hyper, train=True, mutable=["batch_stats"])

    def conv(maps, kernel):  # "same": of a kernel of 2 one row and one column of zeros, behind
        after = kernel.shape[0] // 2
        around = (kernel.shape[0] - 1 - after, after)
        padded = np.pad(maps, ((0, 0), around, around, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], (1, 2))
        return np.maximum(np.einsum("bhwcij,ijcf->bhwf", windows, kernel), 0)

    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    maps = conv(conv(inputs.astype(np.float64), filters), params["conv_0"]["kernel"])
    expected = maps.reshape(4, -1) @ params["head"]["logits"]["kernel"].T
    found, updated = logits(variables["params"])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert same_bits(updated["batch_stats"]["whiten"], filters)
    assert "whiten" not in variables["params"]
    grads = jax.grad(lambda p: (logits(p)[0] ** 2).sum())(variables["params"])
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


def test_it_is_counted():
    static, _ = resolved(tiny(**{**WHITE, "model__whiten": 3}))
    without, _ = resolved(tiny(**{**WHITE, "model__whiten": 0}))
    shape = (28, 28, 1)
    assert models.feature_shapes(static.model, shape) == [(28, 28, 18), (14, 14, 4)]
    layer, block = 2 * 28 * 28 * 9 * 18, 2 * 28 * 28 * 9 * (18 - 1) * 4  # and 18 channels in place of 1 for the block
    assert models.forward_flops(static.model, shape) == models.forward_flops(without.model, shape) + layer + block
    more = layer + 2 * block  # neither has a gradient by its inputs, and the layer none by its filters
    assert models.spec.training_flops(static.model, shape) == models.spec.training_flops(without.model, shape) + more
    values = 28 * 28 * 17 * 4
    assert memory.of_step(static) - memory.of_step(without) == values * max(3 * 16, 2 * 50)
    assert static != without


def asked(**changes):
    return config.parse(tiny(**{**WHITE, "seeds": 2, **changes}))


def begun(checked, directory):
    """(group, state as it begins) of the study's one group."""
    workshop = groups.Workshop(checked)
    ((prepared, runs),) = groups.divide(workshop, arms.arms_of(checked))
    group = workshop.group("0", prepared, runs)
    begins = session._Session(group, workshop.dataset(group.source), directory, checked, None)
    return group, begins.population.get(begins._begin())


@pytest.mark.parametrize(
    "more",
    [{}, {"population__mode": "vmap", "population__stream": "always", "population__devices": 2}],
    ids=["map", "vmap"],
)
def test_every_run_has_those_of_its_own_fold_and_keeps_them(tmp_path, more):
    decay = {"optimizer__name": "sgd", "optimizer__weight_decay": 0.1, "optimizer__average": 0.5}
    checked = asked(folds=2, dataset__std=0.5, **decay, **more)
    group, first = begun(checked, tmp_path)
    study.run(checked, tmp_path, Console(file=io.StringIO()))
    workshop = groups.Workshop(checked)
    dataset, split = workshop.dataset(group.source), group.split
    of_fold = [
        whitening.filters(whitening.covariance(dataset.train_images, split.train[f][: split.train_size[f]], 2), 0.5, 2)
        for f in (0, 1)
    ]
    assert not np.allclose(of_fold[0], of_fold[1])
    last = testing.last_state(group, tmp_path / "groups/0", checked)
    for i, run in enumerate(group.runs):
        for state in (first, last):
            assert same_bits(run_of(state, i).batch_stats["whiten"], of_fold[run.fold])
        assert same_bits(run_of(last, i).average[1]["whiten"], of_fold[run.fold])


def test_images_of_the_validation_part_and_of_the_test_set_have_no_part_in_them(tmp_path):
    checked = asked()
    group, state = begun(checked, tmp_path)
    pixels = np.array(groups.Workshop(checked).dataset(group.source).train_images)
    pixels[group.split.validation[0]] = 0
    assert same_bits(whitening.over(state, group, pixels).batch_stats, state.batch_stats)
    pixels[group.split.train[0][0]] ^= 255
    assert not same_bits(whitening.over(state, group, pixels).batch_stats, state.batch_stats)


def test_a_refit_has_those_of_all_training_images(tmp_path):
    checked = asked(selection__refit=True, evaluation__test="all", seeds=1)
    study.run(checked, tmp_path, Console(file=io.StringIO()))
    workshop, place = groups.Workshop(checked), refit.place(tmp_path)
    group = refit.group(workshop, arms.arms_of(checked)[0], place.contents)
    kept = testing.last_state(group, place.directory, refit.settings(checked)).batch_stats["whiten"]
    pixels = workshop.dataset(checked.dataset).train_images
    everything = whitening.covariance(pixels, np.arange(len(pixels)), 2)
    assert same_bits(kept[0], whitening.filters(everything, 1.0, 2))


def test_weights_that_are_carried_over_keep_the_filters_that_they_are_for(tmp_path):
    checked = asked(folds=2, seeds=1, train__carry_over=True)
    study.run(checked, tmp_path, Console(file=io.StringIO()))
    workshop, there = groups.Workshop(checked), places.there(tmp_path)
    states = [testing.last_state(place.build(workshop), place.directory, checked) for place in there]
    assert same_bits(*(state.batch_stats["whiten"] for state in states))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__family": "mlp", "model__filters": (32, 64)},
            "model.whiten=2: nothing reads it, because model.family is 'mlp'",
        ),
        ({"model__whiten": 29}, "model.whiten=29: larger than the 28x28 images; take a smaller one"),
        ({"model__whiten": -1}, "model.whiten=-1: must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(UserError) as caught:
        resolved(tiny(**{**WHITE, **changes}))
    assert message in str(caught.value)
