"""The benchmark compares like with like: same weights, same batch, same numbers from all; and its sums are right."""

import dataclasses
import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")

from benchmarks import cases  # noqa: E402
from benchmarks.rivals import torch_nets, torch_rival, vmap_rival  # noqa: E402
from benchmarks.rivals.choices import Choice  # noqa: E402
from benchmarks.rivals.plain import PlainFlax  # noqa: E402
from fmnist_jax import config, models, train  # noqa: E402

BATCH = 16
KERAS = importlib.util.find_spec("keras") is not None


def made(changes, shape=(28, 28, 1), **sections):
    """A case of one run on two batches of made-up images; `changes` to the model, `sections` to the rest."""
    wanted = config.default()
    wanted.train.batch_size = BATCH
    wanted.model.update({"filters": (4, 5), "dense": (8,), "norm": ("none",), **changes})
    for name, keys in sections.items():
        wanted[name].update(keys)
    # With the usual 1e-7 a gradient that is all rounding error (a bias before batch norm) makes a whole step of Adam.
    if wanted.optimizer.name == "adam":
        wanted.optimizer.eps = 1e-2
    checked = config.parse(wanted)
    return cases.make("test", checked, cases.Source(checked.dataset, (shape, 10, BATCH)), 1)


MOMENTUM = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}
NETS = {
    "alexander": ({}, {}),
    "batch norm": ({"norm": ("batch",)}, {}),
    "acosta": ({"kernel": (5,), "pool": ("average",)}, {"optimizer": {"name": "sgd", "learning_rate": 0.1}}),
    # 35 -> 18 with zeros (1, 2), of which the pooling leaves the last out; 9 -> 5; and nothing pooled: 2 -> 1
    "blagg": ({"kernel": (4,), "stride": (2,), "filters": (4, 5), "pool": ("max", "none")}, {"shape": (35, 35, 3)}),
    "valid": ({"padding": ("valid",), "pool": ("none", "max")}, {"dataset": {"mean": 0.5, "std": 0.5}}),
    "two pixels": ({"padding": (2,), "order": ("pool", "activation", "norm")}, {"optimizer": MOMENTUM}),
    "kunze": (
        {
            "family": "mlp",
            "filters": (32, 64),
            "norm": ("batch",),
            "kernel_init": "truncated_normal",
            "init_stddev": 0.5,
            "logits_activation": "relu",
        },
        {},
    ),
}
FLAX = ("alexander", "batch norm")


@pytest.fixture(params=NETS)
def name(request):
    return request.param


@pytest.fixture
def case(name):
    return stepped(name)[0]


def flat(params):
    """Our parameters as plain Flax names and lays them: no `head` between, dense kernels [in, out]."""
    head = {name: {**tree, "kernel": tree["kernel"].T} for name, tree in params["head"].items()}
    return {**{name: tree for name, tree in params.items() if name != "head"}, **head}


def order_of(name):
    """conv_0, norm_0, conv_1, ..., dense_0, ..., logits."""
    kind, _, index = name.partition("_")
    return {"conv": 0, "norm": 0, "dense": 1, "logits": 2}[kind], int(index or 0), kind


def torch_tensors(case, params):
    """Our parameters in the order of the torch network's; NHWC features become NCHW ones."""
    if case.static.model.family == "resnet18":
        return resnet_tensors(params)
    *_, (height, width, channels) = models.feature_shapes(case.static.model, case.static.image_shape)
    tensors = []
    for name, tree in sorted(flat(params).items(), key=lambda item: order_of(item[0])):
        if "scale" in tree:
            tensors += [tree["scale"], tree["bias"]]
            continue
        kernel = np.asarray(tree["kernel"])
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        else:
            if name == ("dense_0" if case.static.model.dense else "logits"):
                kernel = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
            kernel = kernel.T
        tensors += [kernel, tree["bias"]]
    return [np.asarray(t) for t in tensors]


def resnet_tensors(params):
    """As torch registers them: within a block conv1, bn1, conv2, bn2, downsample; the stem first, fc last."""

    def of(tree):
        kernel = np.asarray(tree["kernel"] if "kernel" in tree else tree["scale"])
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel
        return [kernel, *([np.asarray(tree["bias"])] if "bias" in tree else [])]

    blocks = [params[name] for name in sorted(params) if name.startswith("layer")]
    parts = ("conv1", "bn1", "conv2", "bn2", "downsample_0", "downsample_1")
    trees = [params["conv1"], params["bn1"], *(b[name] for b in blocks for name in parts if name in b), params["fc"]]
    return [tensor for tree in trees for tensor in of(tree)]


@functools.cache
def stepped(name):
    """(case, our state before, and after one step on the first batch, in order)."""
    changes, more = NETS[name]
    case = dataclasses.replace(made(changes, **more), workload=name)
    return case, *our_step(case)


def our_step(case):
    run = train.make_train(case.static)
    state = run.init(jnp.uint32(0), case.hyper)  # jitted, it takes longer
    data = case.dataset.train_images, case.dataset.train_labels
    segment = jax.jit(run.segment, compiler_options={"xla_backend_optimization_level": 0})  # compiles sooner
    return state, segment(state, case.hyper, *data, jnp.arange(BATCH), 0, 1)


def torch_run(case, params, layout="channels_last"):
    """A run in PyTorch that starts from our parameters."""
    eager = torch_rival.TorchRun(case, Choice(layout=layout))
    with torch.no_grad():
        for parameter, value in zip(eager.net.parameters(), torch_tensors(case, params), strict=True):
            parameter.copy_(torch.tensor(value))
    return eager


def close(mine, theirs, atol=1e-6):
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), atol=atol)


def test_pytorch_takes_our_step_and_then_gives_our_logits(name):
    case, before, after = stepped(name)
    eager = torch_run(case, before.params)
    loss = eager.step(eager.data.viewed(eager.data.images), eager.data.labels).item()
    assert loss == pytest.approx(float(after.sums.loss), rel=1e-5)
    close(torch_tensors(case, after.params), eager.net.parameters())
    module = models.MODELS[case.static.model.family](case.static.model)
    inputs = (case.dataset.train_images / np.float32(255) - case.hyper.mean) / case.hyper.std
    variables = {"params": after.params, "batch_stats": after.batch_stats}
    logits = module.apply(variables, inputs, case.hyper, train=False)
    eager.net.eval()
    theirs = eager.net(eager.data.viewed(eager.data.images)).detach().numpy()
    np.testing.assert_allclose(theirs, logits, atol=1e-5)


def resnet18():
    case = made({"family": "resnet18", "filters": (32, 64), "dense": (128,), "norm": ("batch",)}, optimizer=MOMENTUM)
    spec = dataclasses.replace(case.static.model, conv_method="lax")  # compiles in a fifth of the time
    return dataclasses.replace(case, static=dataclasses.replace(case.static, model=spec))


def test_resnet18_in_pytorch_has_our_layers():
    case = resnet18()
    ours = jax.eval_shape(train.make_train(case.static).init, jax.ShapeDtypeStruct((), "uint32"), case.hyper).params
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), ours)
    theirs = [tuple(leaf.shape) for leaf in torch_nets.torch_net(case).parameters()]
    assert [leaf.shape for leaf in resnet_tensors(zeros)] == theirs


def test_resnet18_in_pytorch_takes_our_step(monkeypatch):
    """As wide as the stem is at first, as the last layer takes it at last, and narrow between."""
    for module in (models.spec, models.resnet, torch_nets):
        monkeypatch.setattr(module, "RESNET18_STAGES", ((64, 1), (16, 2), (8, 2), (512, 2)))
    case = resnet18()
    before, after = our_step(case)
    eager = torch_rival.TorchRun(case, Choice())
    for mine, theirs in zip(resnet_tensors(before.params), eager.net.parameters(), strict=True):
        assert mine.shape == tuple(theirs.shape)
        assert mine.std() == pytest.approx(theirs.detach().numpy().std(), rel=0.5 if mine.ndim == 1 else 0.1)  # its law
    eager = torch_run(case, before.params, "contiguous")
    loss = eager.step(eager.data.images, eager.data.labels).item()
    assert loss == pytest.approx(float(after.sums.loss), rel=1e-5)
    # Batch norm over the few pixels of the last stages divides by small numbers: a step of 0.1 moves by rounding.
    for mine, theirs in zip(resnet_tensors(after.params), eager.net.parameters(), strict=True):
        assert np.abs(mine - theirs.detach().numpy()).max() < 2e-3 * max(1, np.abs(mine).max())


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_inference_folds_batch_norm_and_gives_the_same_logits(layout):
    case = dataclasses.replace(made({"norm": ("batch",), "order": ("norm", "activation", "pool")}), task="infer")
    torch.manual_seed(0)
    net = torch_nets.torch_net(case)
    for part in net:
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.5, 2)
    run = torch_rival.TorchRun(case, Choice(layout=layout, batch=8))
    run.net = net
    run._prepare_inference()
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in run.net.modules())
    assert [len(piece) for piece in run.pieces] == [8, 8]
    contiguous = torch_rival.Resident(case, "contiguous").tested(8)[0]
    expected = net.eval()(contiguous).detach().numpy()
    np.testing.assert_allclose(run.infer(run.pieces[0]).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", FLAX)
def test_plain_flax_takes_our_step(name):
    case, before, after = stepped(name)
    plain = PlainFlax(case, chunk=1)
    variables = {"params": flat(before.params)}
    if before.batch_stats:
        variables["batch_stats"] = before.batch_stats
    start = (variables, plain.adam.init(variables["params"]))
    data = case.dataset.train_images, case.dataset.train_labels
    (theirs, _), loss = jax.jit(plain.step)(start, *data)
    assert float(loss) == pytest.approx(float(after.sums.loss), rel=1e-5)
    for one, other in zip(jax.tree.leaves(flat(after.params)), jax.tree.leaves(theirs["params"]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", ["alexander", "kunze"])
def test_vmapped_runs_of_pytorch_take_each_our_step(name):
    case, before, after = stepped(name)
    runs = vmap_rival.VmapRuns(case, Choice("vmap"), 2)
    for leaf, value in zip(runs.params.values(), torch_tensors(case, before.params), strict=True):
        leaf[1].copy_(torch.tensor(value))
    data = runs.data
    losses = runs.step(torch.stack([data.images.flip(0), data.images]), torch.stack([data.labels.flip(0), data.labels]))
    assert float(losses[1]) == pytest.approx(float(after.sums.loss), rel=1e-5)
    close(torch_tensors(case, after.params), [leaf[1] for leaf in runs.params.values()])


@pytest.mark.skipif(not KERAS, reason="keras is not installed; pip install -r benchmarks/requirements.txt")
@pytest.mark.filterwarnings("ignore")
def test_keras_takes_our_step(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    from benchmarks.rivals import keras_rival

    case, before, after = stepped("alexander")
    # Keras adds epsilon before it corrects the second moment: at the first step it is ours over sqrt(1 - 0.999).
    optimizer = dataclasses.replace(case.checked.optimizer, eps=case.checked.optimizer.eps * 0.001**0.5)
    case = dataclasses.replace(case, checked=dataclasses.replace(case.checked, optimizer=optimizer))
    run = keras_rival.KerasRun(case, Choice("keras", layout="channels_last", compiled=True, backend="jax"))
    ordered = sorted(flat(before.params).items(), key=lambda item: order_of(item[0]))
    run.net.set_weights([np.array(leaf) for _, tree in ordered for leaf in (tree["kernel"], tree["bias"])])
    run.work(1)
    ordered = sorted(flat(after.params).items(), key=lambda item: order_of(item[0]))
    mine = [leaf for _, tree in ordered for leaf in (tree["kernel"], tree["bias"])]
    for one, other in zip(mine, run.net.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_rivals_draw_their_weights_from_the_same_law(name):
    case, before, _ = stepped(name)
    ours = before.params
    torch.manual_seed(0)
    for mine, theirs in zip(torch_tensors(case, ours), torch_nets.torch_net(case).parameters(), strict=True):
        theirs = theirs.detach().numpy()
        assert np.abs(mine).max() == pytest.approx(np.abs(theirs).max(), rel=0.25)
        assert mine.std() == pytest.approx(theirs.std(), rel=0.25)
    if name in FLAX:
        plain, _ = PlainFlax(case, chunk=1).init(jax.random.key(0))
        for mine, theirs in zip(jax.tree.leaves(flat(ours)), jax.tree.leaves(plain["params"]), strict=True):
            assert np.abs(mine).max() == pytest.approx(np.abs(theirs).max(), rel=0.15)


def test_channels_last_is_what_it_says(case):
    run = torch_rival.TorchRun(case, Choice(layout="channels_last"))
    images = run.data.viewed(run.data.images)
    assert images.stride()[1] == 1
    convolutions = [part for part in run.net if isinstance(part, torch.nn.Conv2d | torch.nn.ZeroPad2d)]
    if convolutions:
        assert convolutions[0](images).stride()[1] == 1


def test_zeros_that_pooling_leaves_out_are_not_added():
    kinds = [type(part).__name__ for part in torch_nets.torch_net(made(*[NETS["blagg"][0]], shape=(35, 35, 3)))]
    assert kinds == ["ZeroPad2d", "Conv2d", "MaxPool2d", "ReLU", "ZeroPad2d", "Conv2d", "ReLU", "Flatten", *kinds[8:]]
    kinds = [type(part).__name__ for part in torch_nets.torch_net(made(*[NETS["blagg"][0]], shape=(50, 50, 3)))]
    assert kinds[0] == "Conv2d"  # 50 -> 25, zeros (1, 1)
