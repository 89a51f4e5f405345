"""Networks: parameter counts as printed or worked by hand, shapes, batch norm. The papers' arms: test_protocols.py."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import resolved, tiny

from fmnist_jax import config, experiment, memory, models, train
from fmnist_jax.errors import UserError


def get_config(name, part=None):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(part) if part else module.get_config()


def counts(c, image_shape=(28, 28, 1), classes=10):
    static, hyper = experiment.resolve(config.parse(c), image_shape, classes, 1000, "patches")
    state = jax.eval_shape(train.make_train(static).init, jax.ShapeDtypeStruct((), "uint32"), hyper)
    trained = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return trained, train.param_count(static, hyper)


def test_alexander_counts_as_its_summary_prints():
    assert counts(get_config("cnn")) == (421_834, 422_026)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("two_conv", 320 + 18_496 + (64 * 14 * 14 * 128 + 128) + 1290),
        ("one_conv", 320 + (32 * 14 * 14 * 64 + 64) + (64 * 128 + 128) + 1290),
        ("three_dense", (784 * 64 + 64) + (64 * 128 + 128) + (128 * 256 + 256) + 2570),
        ("three_conv", 320 + 18_496 + 73_856 + (128 * 14 * 14 * 10 + 10)),
        ("three_conv_two_pools", 320 + 18_496 + 73_856 + (128 * 7 * 7 * 10 + 10)),
    ],
)
def test_report234591_has_the_dimensions_it_states(part, expected):
    assert counts(get_config("report234591", part))[1] == expected


def test_mlp_and_fruits_by_hand():
    assert counts(get_config("mlp"))[1] == 784 * 10 + 10 + 10 * 10 + 10
    # 100 -> conv 50 -> pool 25 -> conv 13 -> pool 6 -> conv 3 -> pool 1
    convolutions = (16 * 3 * 24 + 24) + (16 * 24 * 48 + 48) + (16 * 48 * 96 + 96)
    assert counts(get_config("fruits"), (100, 100, 3), 33)[1] == convolutions + (96 * 66 + 66) + (66 * 33 + 33)


def test_layer_shapes_of_alexander():
    static, _ = resolved(get_config("cnn"))
    assert models.feature_shapes(static.model, (28, 28, 1)) == [(28, 28, 1), (14, 14, 32), (7, 7, 64)]
    # 2 * (28*28*9*32 + 14*14*9*32*64 + 3136*128 + 1280)
    assert models.forward_flops(static.model, (28, 28, 1)) == 2 * (225_792 + 3_612_672 + 401_408 + 1280)
    # Each product again for the gradients by weights and by inputs; the first layer's inputs are the images.
    assert models.training_flops(static.model, (28, 28, 1)) == 2 * (2 * 225_792 + 3 * (3_612_672 + 401_408 + 1280))


def test_an_activation_of_the_logits_comes_last():
    plain, hyper = resolved(tiny(model__norm=("none",)))
    relu, _ = resolved(tiny(model__norm=("none",), model__logits_activation="relu"))
    images = np.random.default_rng(0).normal(size=(5, *plain.image_shape)).astype(np.float32)
    params = train.make_train(plain).init(np.uint32(0), hyper).params
    logits, cut = (
        models.CNN(static.model).apply({"params": params}, images, hyper, train=False) for static in (plain, relu)
    )
    assert (logits < 0).any()
    assert np.array_equal(cut, np.maximum(logits, 0))


BRIDGED = {"model__filters": (3, 5), "model__bridge": 2, "model__dense": (7,), "model__norm": ("none",)}


def test_a_bridge_is_a_dense_layer_between_the_first_two_blocks():
    static, hyper = resolved(tiny(**BRIDGED))
    between = 14 * 14 * 3 * (14 * 14 * 2)
    parameters = (9 * 3 + 3) + (between + 14 * 14 * 2) + (9 * 2 * 5 + 5) + (7 * 7 * 5 * 7 + 7) + (7 * 10 + 10)
    assert train.param_count(static, hyper) == parameters
    assert models.feature_shapes(static.model, (28, 28, 1)) == [(28, 28, 1), (14, 14, 3), (14, 14, 2), (7, 7, 5)]
    products = 28 * 28 * 9 * 3 + between + 14 * 14 * 9 * 2 * 5 + 7 * 7 * 5 * 7 + 7 * 10
    assert models.forward_flops(static.model, (28, 28, 1)) == 2 * products
    assert models.training_flops(static.model, (28, 28, 1)) == 2 * (3 * products - 28 * 28 * 9 * 3)
    values = 28 * 28 + 28 * 28 + 14 * 14 * 3 + 14 * 14 * 2 + 7 * 7 * 5 + 7
    assert memory.of_step(static) == 4 * values * 2 * static.eval_batch_size
    none, _ = resolved(tiny(**BRIDGED | {"model__bridge": 0}))
    assert none != static


def test_a_bridge_computes_what_numpy_does_and_every_weight_has_a_gradient():
    images = np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype(np.float32)
    shape = {"model__pool": ("none",), "model__padding": ("valid",), "model__stride": (3,), "model__dense_dropout": ()}
    c = tiny(**BRIDGED, **shape, model__activation=("tanh", "relu"), model__bias_init="pytorch")
    state, (logits, _) = apply(c, images, False)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)

    def conv(maps, kernel, bias):
        windows = np.lib.stride_tricks.sliding_window_view(maps, (3, 3), (1, 2))[:, ::3, ::3]
        return np.einsum("bhwcij,ijcf->bhwf", windows, kernel) + bias

    def dense(values, kernel, bias):
        return values.reshape(len(values), -1) @ kernel.T + bias

    maps = np.tanh(conv(images.astype(np.float64), **params["conv_0"]))
    maps = np.tanh(dense(maps, **params["bridge"])).reshape(4, 9, 9, 2)
    maps = np.maximum(conv(maps, **params["conv_1"]), 0)
    hidden = np.maximum(dense(maps, **params["head"]["dense_0"]), 0)
    np.testing.assert_allclose(logits, dense(hidden, **params["head"]["logits"]), atol=1e-5)

    static, hyper = resolved(c)
    module = models.MODELS["cnn"](static.model)
    grads = jax.grad(lambda p: (module.apply({"params": p}, images, hyper, train=True) ** 2).sum())(state.params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model__family": "mlp", "model__filters": (32, 64)}, "model.family is 'mlp'"),
        (
            {"model__family": "resnet18", "model__filters": (32, 64), "model__dense": (128,)},
            "model.family is 'resnet18', which is as torchvision has it",
        ),
        ({"model__filters": (4,)}, "model.filters is (4,); it lies between the first block and the second"),
    ],
)
def test_a_bridge_that_has_no_two_ends_is_refused(changes, reason):
    with pytest.raises(UserError) as caught:
        config.parse(tiny(**{"model__dense_dropout": (), "model__bridge": 2, **changes}))
    assert str(caught.value) == f"model.bridge=2: nothing reads it, because {reason}"


def test_a_kernel_or_window_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="model.kernel=30 in block 1: larger than its 28x28"):
        resolved(tiny(model__kernel=(30,), model__padding=("valid",)))
    with pytest.raises(UserError, match="model.pool_size=2 in block 5"):
        resolved(tiny(model__filters=(2,) * 6))


def apply(c, images, train_mode):
    static, hyper = resolved(c)
    run = train.make_train(static)
    state = run.init(np.uint32(0), hyper)
    module = models.MODELS[static.model.family](static.model)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    rngs = {"dropout": jax.random.key(1)}
    return state, module.apply(variables, images, hyper, train=train_mode, mutable=["batch_stats"], rngs=rngs)


def test_batch_norm_moves_its_statistics_in_training_alone():
    images = np.random.default_rng(0).normal(size=(64, 28, 28, 1)).astype(np.float32)
    c = tiny(model__order=("norm", "activation", "pool"), model__norm_momentum=0.9)
    state, (_, updated) = apply(c, images, True)
    kernel, bias = state.params["conv_0"]["kernel"], state.params["conv_0"]["bias"]
    raw = (
        jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
    )
    got = updated["batch_stats"]["norm_0"]
    np.testing.assert_allclose(got["mean"], 0.1 * raw.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(got["var"], 0.9 + 0.1 * raw.var((0, 1, 2)), rtol=1e-4)
    _, (_, untouched) = apply(c, images, False)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(untouched["batch_stats"]), jax.tree.leaves(state.batch_stats), strict=True)
    )


def test_order_of_norm_activation_and_pool_matters():
    images = np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype(np.float32)
    orders = [("activation", "pool", "norm"), ("norm", "activation", "pool"), ("pool", "norm", "activation")]
    outs = [apply(tiny(model__order=order, model__dense_dropout=()), images, True)[1][0] for order in orders]
    assert not np.allclose(outs[0], outs[1])
    assert not np.allclose(outs[0], outs[2])
    assert not np.allclose(outs[1], outs[2])


def test_dropout_acts_in_training_alone():
    images = np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype(np.float32)
    without = tiny(model__dense_dropout=(), model__norm=("none",))
    dropped = tiny(model__dense_dropout=(0.9,), model__dropout=(0.5,), model__norm=("none",))
    logits = [apply(c, images, mode)[1][0] for c in (without, dropped) for mode in (True, False)]
    assert np.array_equal(logits[0], logits[1])
    assert np.array_equal(logits[1], logits[3])
    assert not np.allclose(logits[2], logits[3])
