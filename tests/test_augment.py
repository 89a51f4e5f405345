"""Augmentation: each operation against a hand-worked or PIL reference, then the laws that all of them keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from fmnist_jax import augment as A

KEY = jax.random.key(7)
OFF = A.AugmentHyper(*[jnp.float32(0)] * len(A.AugmentHyper._fields))
STRONG = A.AugmentHyper(*map(jnp.float32, (0.5, 20, 3, 0.4, 0.4, 0.4, 0.3, 0.1, 0.7, 0.3)))
OPS = tuple(A.AUGMENTATIONS)
augment = jax.jit(A.augment, static_argnums=0)


def images(batch=64, size=8, channels=3, seed=0):
    return jax.random.uniform(jax.random.key(seed), (batch, size, size, channels))


def one(op, x, key=KEY, **strengths):
    return np.asarray(augment((op,), key, x, OFF._replace(**{k: jnp.float32(v) for k, v in strengths.items()})))


def test_the_table_names_its_functions_and_every_field_is_read():
    assert all(function.__name__ == op for op, function in A.AUGMENTATIONS.items())
    assert {field for fields in A.READS.values() for field in fields} == set(A.AugmentHyper._fields)
    assert A.READS.keys() == A.AUGMENTATIONS.keys() >= A.COLOUR_ONLY


@pytest.mark.parametrize("op", OPS)
def test_an_operation_reads_what_it_says_and_nothing_else(op):
    x = images()
    others = {f: jnp.float32(jnp.nan) for f in A.AugmentHyper._fields if f not in A.READS[op]}
    np.testing.assert_array_equal(augment((op,), KEY, x, STRONG._replace(**others)), augment((op,), KEY, x, STRONG))
    for field in A.READS[op]:
        other = augment((op,), KEY, x, STRONG._replace(**{field: jnp.float32(0)}))
        assert not np.array_equal(augment((op,), KEY, x, STRONG), other), field


@pytest.mark.parametrize("op", OPS)
def test_strength_0_is_the_identity_bit_for_bit(op):
    wild = 2 * images() - 0.5  # outside [0, 1] too, as noise leaves them
    for x in (wild, images(size=9)):
        for field in A.READS[op]:  # erase: no probability, then no area
            hyper = STRONG._replace(**{field: jnp.float32(0)})
            got = augment((op,), KEY, x, hyper)
            np.testing.assert_array_equal(np.asarray(got).view(np.uint32), np.asarray(x).view(np.uint32))


def test_flip():
    x = images(batch=2000, size=2, channels=1)
    np.testing.assert_array_equal(one("flip", x, flip=1), x[:, :, ::-1])
    flipped = (one("flip", x, flip=0.3) == x[:, :, ::-1]).all((1, 2, 3))
    assert abs(flipped.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)


@pytest.mark.parametrize("size", [8, 9])
def test_a_quarter_turn_is_rot90_counter_clockwise(size):
    x = images(size=size)
    quarter = jnp.full((len(x), 1, 1, 1), jnp.pi / 2)
    np.testing.assert_allclose(A.turned(x, quarter), jnp.rot90(x, axes=(1, 2)), atol=1e-5)


def test_a_turn_is_pils_bilinear_turn_away_from_the_border():
    y, x = np.mgrid[:28, :28]
    picture = (np.sin(x / 3) * np.cos(y / 4) / 2 + 0.5).astype(np.float32)
    pil = np.asarray(Image.fromarray(picture).rotate(17, Image.Resampling.BILINEAR))
    ours = A.turned(jnp.asarray(picture)[None, ..., None], jnp.deg2rad(17.0).reshape(1, 1, 1, 1))[0, ..., 0]
    np.testing.assert_allclose(ours[6:-6, 6:-6], pil[6:-6, 6:-6], atol=1e-3)
    assert ours[0, 0] == 0  # what was outside


def test_rotate_draws_angles_up_to_its_degrees():
    # A ramp along x, centred: after a turn by a, the column slope at the centre is cos a and the row slope is sin a.
    ramp = jnp.broadcast_to((jnp.arange(9.0) - 4)[None, None, :, None], (2000, 9, 9, 1))
    turned = one("rotate", ramp, rotate=30)[..., 0]
    degrees = np.rad2deg(np.arctan2(turned[:, 5, 4] - turned[:, 3, 4], turned[:, 4, 5] - turned[:, 4, 3]))
    assert -30 <= degrees.min() < -29 < 29 < degrees.max() <= 30 + 1e-3
    assert abs(degrees.mean()) < 4 * 30 / np.sqrt(3 * 2000)


@pytest.mark.parametrize(("strength", "largest"), [(2, 2), (2.9, 2), (0.5, 0), (9, 9)])
def test_shift_is_whole_pixels_uniform_zero_filled(strength, largest):
    dot = jnp.zeros((4000, 41, 41, 1)).at[:, 20, 20].set(1)
    where = np.argwhere(one("shift", dot, shift=strength)[..., 0] == 1)[:, 1:] - 20
    assert len(where) == 4000
    for axis in (0, 1):
        steps, counts = np.unique(where[:, axis], return_counts=True)
        np.testing.assert_array_equal(steps, np.arange(-largest, largest + 1))
        assert np.abs(counts / 4000 - 1 / len(steps)).max() < 0.03


def test_moved_by_hand():
    x = jnp.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, ..., None]
    np.testing.assert_array_equal(
        A.moved(x, jnp.array([1]), jnp.array([-1]))[0, ..., 0], [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    )
    assert not A.moved(x, jnp.array([3]), jnp.array([0])).any()


@pytest.mark.parametrize(
    ("op", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_colour_jitter_is_pils_as_torchvision_has_it(op, enhance):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    x = A.to_float(jnp.broadcast_to(pixels, (64, 8, 8, 3)))
    ours = one(op, x, **{op: 0.6})
    factors = 1 - 0.6 + 1.2 * jax.random.uniform(jax.random.fold_in(KEY, OPS.index(op)), (64,))
    for got, factor in zip(ours, factors, strict=True):
        pil = np.asarray(enhance(Image.fromarray(pixels)).enhance(float(factor)))
        np.testing.assert_allclose(got * 255, pil, atol=2)  # PIL rounds twice


def test_factors_stay_between_0_and_1_plus_b():
    x = jnp.full((4000, 1, 1, 1), 0.25)
    for strength, low, high in ((0.2, 0.8, 1.2), (1.5, 0, 2.5)):
        factors = one("brightness", x, brightness=strength) / 0.25
        assert low - 1e-6 <= factors.min() < low + 0.01
        assert high - 0.01 < factors.max() <= high + 1e-6
        assert (factors == 0).mean() < 0.01  # none were drawn below 0 and clipped


def test_contrast_of_greyscale_keeps_the_mean():
    x = 0.4 + 0.2 * images(channels=1)
    got = one("contrast", x, contrast=0.5)
    np.testing.assert_allclose(got.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-6)
    assert 0.5 <= (got.std((1, 2, 3)) / np.std(x, (1, 2, 3))).min() < 0.6


def test_hue_turns_pure_red():
    red = jnp.broadcast_to(jnp.array([1.0, 0, 0]), (4000, 1, 1, 3))
    r, g, b = one("hue", red, hue=0.5).reshape(-1, 3).T
    # On the edge of the HSV hexagon a third of a turn from red is green; the drawn angle can be read off the colours.
    key = jax.random.fold_in(KEY, OPS.index("hue"))
    delta = np.asarray(jax.random.uniform(key, (4000,)) - 0.5)
    for colour, angle in ((r, 0), (g, 1 / 3), (b, -1 / 3)):
        distance = np.abs((delta - angle + 0.5) % 1 - 0.5)
        np.testing.assert_allclose(colour, np.clip(2 - 6 * distance, 0, 1), atol=1e-5)
    nearest = np.abs(delta - 1 / 3).argmin()
    np.testing.assert_allclose([r[nearest], g[nearest], b[nearest]], [0, 1, 0], atol=0.01)


def test_noise_has_its_deviation_and_no_mean():
    added = one("noise", jnp.zeros((64, 28, 28, 1)), noise=0.1)
    assert abs(added.std() - 0.1) < 0.001
    assert abs(added.mean()) < 0.002


def test_erase_takes_one_rectangle_within_its_bounds():
    gone = one("erase", jnp.ones((4000, 28, 28, 3)), erase=1, erase_area=0.3)[..., 0] == 0
    rows, cols = gone.any(2).sum(1), gone.any(1).sum(1)
    area = gone.sum((1, 2))
    np.testing.assert_array_equal(area, rows * cols)
    assert area.max() <= 0.3 * 784
    assert (area + rows > 0.02 * 784 - 1).all()  # rounded down to whole columns
    assert abs(area.mean() / 784 - 0.16) < 0.015  # the middle of 0.02 and 0.3, less half a column
    aspect = (rows / cols)[area > 150]  # where whole pixels are fine enough to tell
    assert 0.25 < aspect.min() < 0.35
    assert 3 < aspect.max() < 4
    assert gone.any(0).all()  # anywhere


@pytest.mark.parametrize("size", [(28, 28), (4, 40), (1, 3)])
def test_erase_fits_every_shape(size):
    x = jnp.ones((500, *size, 1))
    kept = one("erase", x, erase=1, erase_area=1).mean((1, 2, 3))
    assert 0 <= kept.min() < kept.max() <= 1
    assert kept.mean() > 0.4  # never the whole image every time


def test_erase_happens_with_its_probability():
    happened = (one("erase", jnp.ones((4000, 8, 8, 1)), erase=0.25, erase_area=0.4) == 0).any((1, 2, 3))
    assert abs(happened.mean() - 0.25) < 0.03


def test_every_image_has_its_own_draw_and_every_key_its_own():
    x = jnp.broadcast_to(images(batch=1, size=12), (8, 12, 12, 3))
    for op in OPS:
        if op not in ("flip", "erase"):
            got = augment((op,), KEY, x, STRONG)
            assert len({np.asarray(image).tobytes() for image in got}) > 5, op
            assert not np.array_equal(got, augment((op,), jax.random.key(8), x, STRONG)), op


def test_operations_come_in_the_order_given_and_do_not_disturb_each_others_draws():
    x = images()
    both = augment(("shift", "noise"), KEY, x, STRONG)
    np.testing.assert_allclose(both, augment(("noise",), KEY, augment(("shift",), KEY, x, STRONG), STRONG), atol=1e-6)
    assert not np.array_equal(both, augment(("noise", "shift"), KEY, x, STRONG))
    np.testing.assert_array_equal(augment((), KEY, x, STRONG), x)


def test_one_trace_for_all_strengths():
    traces = []

    @jax.jit
    def step(key, x, hyper):
        traces.append(1)
        return A.augment(OPS, key, x, hyper)

    for i in range(4):
        step(jax.random.key(i), images(), jax.tree.map(lambda leaf: leaf * jnp.float32(i / 4), STRONG))  # noqa: B023
    assert len(traces) == 1


def test_what_cannot_be_done_is_refused_by_name():
    grey = images(channels=1)
    for op in A.COLOUR_ONLY:
        with pytest.raises(ValueError, match=f"'{op}' needs images of 3 channels, these have 1"):
            jax.eval_shape(lambda x, op=op: A.augment((op,), KEY, x, STRONG), grey)
    with pytest.raises(ValueError, match=r"'flop' does not exist: choose from flip, rotate"):
        A.augment(("flop",), KEY, grey, STRONG)
    with pytest.raises(ValueError, match=r"'flip' is named twice"):
        A.augment(("flip", "noise", "flip"), KEY, grey, STRONG)
    A.check(tuple(op for op in OPS if op not in A.COLOUR_ONLY), channels=1)


def test_normalise_by_hand():
    pixels = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 3, 1)
    got = jax.jit(A.normalise)(pixels, jnp.float32(0.2), jnp.float32(0.5))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got.ravel(), [-0.4, 0, 1.6], atol=1e-6)
    np.testing.assert_allclose(A.to_float(pixels).ravel(), [0, 0.2, 1], rtol=1e-6)
