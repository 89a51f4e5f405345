"""Convolutions against XLA's own in float64, torch where it is installed, and numbers worked by hand."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import convolution, forms
from fmnist_jax.convolution import Stage

RNG = np.random.default_rng(0)
KERNELS = tuple(
    (kernel, stride, padding)
    for kernel, stride, padding in itertools.product((1, 3, 4), (1, 2), ("same", "valid", 1))
    if (kernel, padding) != (1, "same") and (kernel, stride, padding) != (3, 1, 1)  # 1 and valid, 3 and same, again
)


def compiled(function, **options):
    """jax.jit, as the engine compiles."""
    return jax.jit(function, compiler_options=forms.compiler_options("cpu"), **options)


@pytest.mark.parametrize(("kernel", "stride", "padding"), KERNELS)
@pytest.mark.parametrize(
    ("method", "features", "uncut"), [("patches", 4, 0), ("blocked", 4, 0), ("blocked", 20, 0), ("blocked", 28, 3)]
)
def test_convolution_and_its_gradients_equal_xlas_in_float64(
    kernel, stride, padding, method, features, uncut, monkeypatch
):
    pixels = -(-9 // stride) * -(-8 // stride)
    monkeypatch.setattr(convolution, "UNCUT", uncut)
    monkeypatch.setattr(
        convolution, "BLOCK_BYTES", 2 * pixels * max(kernel**2 * 16, features) * 4
    )  # two images a block
    drawn, wanted = by_xla((6, 9, 8, 16), (kernel, kernel, 16, features), stride, padding)
    found = convolved(*drawn, stride, padding, method)
    assert found[0].shape[1] == convolution.conv_size(9, kernel, stride, padding)
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def convolved(images, weights, stride, padding, method):
    """What the convolution gives, and the gradients of the sum of its sines by images and by weights."""

    def loss(images, weights):
        out = convolution.conv(images, weights, stride=stride, padding=padding, method=method)
        return jnp.sum(jnp.sin(out)), out

    (_, out), grads = compiled(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(images, weights)
    return jax.tree.map(np.asarray, (out, *grads))


@functools.cache
def by_xla(images, weights, stride, padding):
    """(images, weights) of these shapes, and what XLA's own convolution makes of them in float64."""
    drawn = [RNG.normal(size=shape).astype(np.float32) for shape in (images, weights)]
    with jax.enable_x64(True):
        return drawn, convolved(*(jnp.asarray(one, jnp.float64) for one in drawn), stride, padding, "lax")


SMALL_MAPS = ((1, 3, 1, 1), (2, 3, 1, 1), (2, 3, 2, 1), (4, 3, 1, 1), (4, 3, 2, 1), (2, 5, 1, 2), (1, 7, 2, 3))


@pytest.mark.parametrize("method", ["patches", "blocked"])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), SMALL_MAPS)
def test_a_map_of_which_patches_are_mostly_padding_is_convolved_without_it(
    size, kernel, stride, padding, method, monkeypatch
):
    drawn, wanted = by_xla((6, size, size, 20), (kernel, kernel, 20, 24), stride, padding)
    monkeypatch.delattr(convolution, "patches")
    for got, want in zip(convolved(*drawn, stride, padding, method), wanted, strict=True):
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_of_a_map_of_one_pixel_the_middle_of_the_kernel_is_all_there_is():
    stage = Stage(1, ((1, 1), (1, 1)))
    image, kernel = jnp.full((1, 1, 1, 1), 3.0), jnp.arange(9.0).reshape(3, 3, 1, 1)
    assert [tap[:2] for tap in convolution._taps(stage, image, kernel)] == [(1, 1)]
    assert convolution._by_taps(image, kernel, stage).item() == 3 * 4
    by_kernel = jax.grad(lambda kernel: convolution._by_taps(image, kernel, stage).sum())(kernel)
    assert by_kernel.reshape(-1).tolist() == [0, 0, 0, 0, 3, 0, 0, 0, 0]
    # 2 x 2 pixels in 36 places of patches: the middle of the kernel meets all 4, its edges 2 each, its corners 1.
    pair = jnp.zeros((1, 2, 2, 1))
    shares = [len(range(4)[r]) * len(range(4)[c]) for *_, (_, r, c), _ in convolution._taps(stage, pair, kernel)]
    assert shares == [1, 2, 1, 2, 4, 2, 1, 2, 1]
    assert stage.mostly_zeros(pair, 3)
    assert not stage.mostly_zeros(jnp.zeros((1, 7, 7, 1)), 3)


def test_blocks_are_the_largest_that_fit_and_divide_the_batch(monkeypatch):
    kernel, images = jnp.zeros((3, 3, 2, 4)), jnp.zeros((12, 8, 8, 2))
    monkeypatch.setattr(convolution, "UNCUT", 0)
    for blocks, fit in ((12, 1), (6, 2), (3, 4), (3, 5), (1, 12), (1, 99), (12, 0.5)):
        monkeypatch.setattr(convolution, "BLOCK_BYTES", int(fit * 8 * 8 * 9 * 2 * 4))
        shape = convolution._in_blocks(images, kernel, Stage(1, ()), images).shape
        assert shape == (blocks, 12 // blocks, 8, 8, 2)
    monkeypatch.setattr(convolution, "BLOCK_BYTES", 8 * 8 * 90 * 4)  # of many features, the outputs are what has to fit
    assert convolution._in_blocks(images, jnp.zeros((3, 3, 2, 45)), Stage(1, ()), images).shape[:2] == (6, 2)


def test_a_batch_that_nearly_fits_is_not_cut_unless_it_is_pooled(monkeypatch):
    kernel, images = jnp.zeros((3, 3, 2, 4)), jnp.zeros((12, 8, 8, 2))
    pooled = Stage(1, (), then=(("pool", "max", 2),))
    for fit, stage, blocks in ((3, Stage(1, ()), 1), (2, Stage(1, ()), 6), (3, pooled, 4)):
        monkeypatch.setattr(convolution, "BLOCK_BYTES", fit * 8 * 8 * 9 * 2 * 4)
        assert len(convolution._in_blocks(images, kernel, stage, images)) == blocks


ENDS = {
    "as it is": (),
    "ReLU, max": (("activation", "relu"), ("pool", "max", 2)),
    "max, ReLU": (("pool", "max", 2), ("activation", "relu")),
    "leaky ReLU, soft": (("activation", "leaky_relu"), ("pool", "soft", 2)),
    "average, GELU": (("pool", "average", 3), ("activation", "gelu")),
}


@pytest.mark.parametrize("features", [4, 20])
@pytest.mark.parametrize("then", ENDS.values(), ids=ENDS)
def test_what_follows_a_convolution_is_the_same_block_by_block(then, features, monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK_BYTES", 2 * 9 * 8 * 9 * 3 * 4)
    monkeypatch.setattr(convolution, "UNCUT", 0)
    images = RNG.normal(size=(6, 9, 8, 3)).astype(np.float32)
    weights = RNG.normal(size=(3, 3, 3, features)).astype(np.float32)
    bias = RNG.normal(size=features).astype(np.float32)

    def loss(images, weights, bias, slope, method):
        out = convolution.conv(images, weights, bias, slope, stride=1, padding="same", method=method, then=then)
        return jnp.sum(jnp.sin(out))

    by_all = compiled(jax.grad(loss, argnums=(0, 1, 2, 3)), static_argnums=4)
    with jax.enable_x64(True):
        wide = by_all(*(jnp.asarray(a, jnp.float64) for a in (images, weights, bias, 0.1)), "lax")
        wanted = jax.tree.map(np.asarray, wide)
    for got, want in zip(by_all(images, weights, bias, jnp.float32(0.1), "blocked"), wanted, strict=True):
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


# Height and width, channels, filters, kernel, stride of convolutions in the five studies, and at the rule's edges.
CONVOLUTIONS = (
    *((28, 16, 16, 3, 1), (28, 17, 17, 3, 1), (7, 20, 20, 3, 1)),
    *((28, 1, 32, 3, 1), (14, 32, 64, 3, 1), (28, 1, 32, 5, 1), (14, 64, 64, 5, 1), (28, 64, 128, 3, 1)),
    *((28, 1, 10, 2, 1), (28, 1, 20, 3, 1), (28, 1, 32, 4, 1), (28, 1, 32, 7, 1)),
    *((100, 3, 12, 3, 2), (50, 12, 24, 3, 2), (25, 48, 96, 3, 2), (13, 96, 192, 3, 2)),
    *((14, 28, 56, 3, 1), (14, 60, 120, 3, 1), (28, 3, 64, 7, 2), (7, 64, 64, 3, 1), (7, 64, 128, 3, 2)),
    *((4, 128, 128, 3, 1), (2, 256, 256, 3, 1)),
)


def convolutions_left(program: str) -> list[str]:
    """The convolutions of a compiled program that XLA:CPU did not give to a library.

    Those of images spread apart go to Eigen's, which is faster than patches (docs/performance.md).
    """
    fusions = re.findall(r"calls=(%[\w.-]+)[^\n]*__ynn_fusion", program)
    computation, left = "", []
    for line in program.splitlines():
        computation = line.split()[0] if line.endswith("{") else computation
        if " convolution(" in line and "lhs_dilate" not in line and computation not in fusions:
            left.append(line.strip()[:120])
    return left


@pytest.mark.parametrize(
    ("size", "channels", "filters", "kernel", "stride", "padding"),
    [*((*one, "same") for one in CONVOLUTIONS), *((*one, "valid") for one in CONVOLUTIONS[::3])],
)
def test_no_convolution_is_left_to_the_loops_of_xla(size, channels, filters, kernel, stride, padding, monkeypatch):
    if convolution.conv_size(size, kernel, stride, padding) < 2:
        pytest.skip("nothing to pool")
    images, weights = jnp.zeros((8, size, size, channels)), jnp.zeros((kernel, kernel, channels, filters))
    pixels = (-(-size // stride)) ** 2
    monkeypatch.setattr(
        convolution, "BLOCK_BYTES", 4 * pixels * max(kernel**2 * channels, filters) * 4
    )  # blocks of four
    how = {"stride": stride, "padding": padding, "method": "blocked", "input_gradient": channels > 3}

    def step(_, weights):
        def loss(images, weights):
            return jnp.sum(convolution.conv(images, weights, **how, then=(("pool", "max", 2),)) ** 2)

        by_images, by_weights = jax.grad(loss, (0, 1))(images, weights)
        return weights - by_weights - by_images.sum()

    program = compiled(lambda weights: jax.lax.fori_loop(0, 2, step, weights)).lower(weights).compile().as_text()
    assert not convolutions_left(program)


def test_features_that_nearly_fill_the_tiles_are_filled():
    found = {
        n: convolution._filling(n) for n in (17, 20, 24, 25, 28, 32, 40, 48, 49, 56, 64, 88, 90, 100, 112, 120, 128)
    }
    assert {n: more for n, more in found.items() if more} == {25: 7, 28: 4, 49: 15, 56: 8, 90: 6, 120: 8}


def test_relu_may_wait_for_max_pooling():
    images, weights = (RNG.normal(size=shape).astype(np.float32) for shape in ((4, 9, 8, 3), (3, 3, 3, 20)))

    def loss(weights, then):
        out = convolution.conv(images, weights, stride=1, padding="same", method="blocked", then=then)
        return jnp.sum(jnp.sin(out)), out

    grad = jax.grad(loss, has_aux=True)
    (early, first), (late, last) = grad(weights, ENDS["ReLU, max"]), grad(weights, ENDS["max, ReLU"])
    assert np.array_equal(first, last)
    assert np.array_equal(early, late)


def test_the_gradient_by_images_is_left_out_when_nobody_asks():
    images, weights = RNG.normal(size=(2, 6, 6, 1)), RNG.normal(size=(3, 3, 1, 2))
    by = jax.grad(
        lambda *a: convolution.conv(*a, stride=1, padding="same", method="blocked", input_gradient=False).sum(), (0, 1)
    )
    d_images, d_weights = by(jnp.array(images), jnp.array(weights))
    assert not d_images.any()
    assert d_weights.all()


def test_same_padding_is_tensorflows():
    # TensorFlow puts the odd pixel after: 5 wide, kernel 2 -> (0, 1); 28 wide, kernel 4, stride 2 -> (1, 1).
    assert convolution.pads(5, 2, 1, "same") == (0, 1)
    assert convolution.pads(28, 4, 2, "same") == (1, 1)
    assert convolution.pads(28, 3, 1, "same") == (1, 1)
    assert convolution.conv_size(25, 4, 2, "same") == 13


def test_against_torch():
    torch = pytest.importorskip("torch", reason="torch is in benchmarks/requirements.txt")
    images = RNG.normal(size=(2, 9, 9, 3)).astype(np.float32)
    weights = RNG.normal(size=(3, 3, 3, 5)).astype(np.float32)
    ours = convolution.conv(images, weights, stride=2, padding=1, method="patches")
    planes, kernels = torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(weights).permute(3, 2, 0, 1)
    theirs = torch.nn.functional.conv2d(planes, kernels, stride=2, padding=1)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), atol=1e-5)
