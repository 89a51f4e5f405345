"""ResNet-18: torchvision's layout by counts worked out elsewhere, its pooling, and what its family does not read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import build, run_of, same_bits, tiny, trained

from fmnist_jax import config, experiment, forms, memory, models, population, train
from fmnist_jax.errors import UserError
from fmnist_jax.models.resnet import max_pool

UNREAD = {"model__filters": (32, 64), "model__dense": (128,), "model__dense_dropout": ()}


def resnet(**changes):
    return tiny(**{"model__family": "resnet18", **UNREAD, "augment__ops": (), **changes})


def shapes(channels=3, classes=10):
    static, hyper = experiment.resolve(config.parse(resnet()), (28, 28, channels), classes, 192, "blocked")
    state = jax.eval_shape(train.make_train(static).init, jax.ShapeDtypeStruct((), "uint32"), hyper)
    return static, hyper, state


@pytest.mark.parametrize("channels", [1, 3])
def test_parameters_are_as_many_as_torchvision_s(channels):
    static, hyper, state = shapes(channels)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == 11_181_642
    assert train.param_count(static, hyper) == 11_181_642 + 2 * 4800  # running means and variances
    _, _, of_imagenet = shapes(classes=1000)
    assert sum(leaf.size for leaf in jax.tree.leaves(of_imagenet.params)) == 11_689_512  # torchvision's docs


def test_products_are_as_counted_by_hand_and_by_others():
    static, _, _ = shapes(classes=1000)
    # torchvision's docs give 1.81 GFLOPS, fvcore 1,814,073,344 multiply-adds without batch norm and pooling.
    assert models.forward_flops(static.model, (224, 224, 3)) == 2 * 1_814_073_344
    static, _, _ = shapes()
    stem = 14 * 14 * 49 * 3 * 64
    first = 4 * 7 * 7 * 9 * 64 * 64
    second = 4 * 4 * 128 * (9 * 64 + 3 * 9 * 128 + 64)
    third = 2 * 2 * 256 * (9 * 128 + 3 * 9 * 256 + 128)
    fourth = 512 * (9 * 256 + 3 * 9 * 512 + 256)
    assert models.forward_flops(static.model, (28, 28, 1)) == 2 * (stem + first + second + third + fourth + 5120)


def test_shapes_of_what_each_convolution_gives():
    static, _, _ = shapes()
    found = models.feature_shapes(static.model, (28, 28, 1))
    assert found[:3] == [(28, 28, 1), (14, 14, 64), (7, 7, 64)]
    assert found[-1] == (1, 1, 512)
    assert len(found) == 1 + 20  # 17, and three on the shortcuts
    assert memory.of_step(static) > 4 * 2 * static.eval_batch_size * sum(np.prod(shape) for shape in found)
    assert forms.choose_mode("auto", static) == "map"


def test_the_pooling_is_lax_s_and_its_gradient_too():
    x = np.random.default_rng(0).integers(0, 4, (2, 9, 8, 3)).astype(np.float32)  # many equals

    def lax_pool(x):
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
        )

    weights = np.random.default_rng(1).normal(size=lax_pool(x).shape).astype(np.float32)
    assert np.array_equal(max_pool(x), lax_pool(x))
    ours, theirs = (jax.grad(lambda x, pool=pool: (pool(x) * weights).sum())(x) for pool in (max_pool, lax_pool))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    x[0, 4, 4, 0] = np.nan
    assert np.isnan(max_pool(x)).sum() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__filters": (8,)}, "model.filters=(8,): nothing reads it, because model.family is 'resnet18'"),
        ({"model__dense": (10,)}, "model.dense=(10,): nothing reads it"),
        ({"model__norm_epsilon": 1e-5}, "model.norm_epsilon=1e-05: nothing reads it"),
        ({"model__init_scale": 2.0}, "model.init_scale=2.0: nothing reads it"),
        ({"model__leaky_slope": 0.3}, "model.leaky_slope=0.3: nothing reads it"),
        ({"model__family": "cnn", "model__weights": "a.pth"}, "model.weights='a.pth': nothing reads it"),
    ],
)
def test_what_the_family_does_not_read_is_refused(changes, message):
    with pytest.raises(UserError) as caught:
        config.parse(resnet(**changes))
    assert message in str(caught.value)


def test_other_channels_are_refused():
    with pytest.raises(UserError, match="takes images of 1 or 3 channels, these have 2"):
        shapes(channels=2)


@pytest.fixture
def narrow(monkeypatch):
    """The same layout in two narrow stages of one block each, which compiles in a few seconds."""
    population.forget_programs()
    for module in (models.spec, models.resnet):
        monkeypatch.setattr(module, "RESNET18_STAGES", ((16, 1), (24, 2)))
        monkeypatch.setattr(module, "RESNET18_BLOCKS", 1)
    yield
    population.forget_programs()


def test_it_is_drawn_as_torchvision_draws_it(narrow):
    static, hyper, _ = shapes()
    state = jax.jit(train.make_train(static).init)(np.uint32(0), hyper)
    for kernel in (state.params["conv1"]["kernel"], state.params["layer2_0"]["conv2"]["kernel"]):
        fan_out = kernel.shape[0] ** 2 * kernel.shape[3]
        assert np.std(kernel) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert "bias" not in state.params["conv1"]
    fc = state.params["fc"]
    assert np.abs(fc["kernel"]).max() == pytest.approx(24**-0.5, rel=0.05)
    assert np.abs(fc["bias"]).max() <= 24**-0.5
    assert (state.params["bn1"]["scale"] == 1).all()


def test_it_trains_and_a_mapped_run_has_the_bits_it_has_alone(narrow):
    c = resnet(train__batch_size=8, optimizer__learning_rate=1e-2)
    state = trained(*build(c, seeds=(0, 1)), 24)
    assert (state.diverged_at == -1).all()
    assert (state.sums.correct > 1.5 * state.sums.steps * 8 / 10).all()
    assert same_bits(run_of(state, 1), run_of(trained(*build(c, seeds=(1,)), 24), 0))
