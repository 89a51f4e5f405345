"""The benchmark compares like with like: same weights, same batch, same numbers from all three; and it runs."""

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from helpers import images

torch = pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")

from benchmarks import rivals, throughput  # noqa: E402
from fmnist_jax import models, train  # noqa: E402

BATCH = 32
CASES = {"cnn": throughput.TINY["cnn"], "cnn_no_bn": throughput.TINY["cnn_no_bn"], "mlp": throughput.WORKLOADS["mlp"]}


@pytest.fixture(params=CASES)
def case(request):
    pixels, labels = images(2 * BATCH)
    dataset = SimpleNamespace(
        train_images=pixels[:BATCH],
        train_labels=labels[:BATCH],
        test_images=pixels[BATCH:],
        test_labels=labels[BATCH:],
        class_names=tuple(range(10)),
    )
    case = throughput.make_case(request.param, CASES[request.param], BATCH, 1, dataset)
    # With Adam's usual 1e-7 a gradient that is all rounding error (a bias before batch norm) makes a whole step.
    optimizer = dataclasses.replace(case.checked.optimizer, eps=1e-3)
    return dataclasses.replace(
        case,
        checked=dataclasses.replace(case.checked, optimizer=optimizer),
        hyper=case.hyper._replace(optimizer=case.hyper.optimizer._replace(eps=np.float32(1e-3))),
    )


def flat(params):
    """Our parameters as plain Flax names and lays them: no `head` between, dense kernels [in, out]."""
    head = {name: {**tree, "kernel": tree["kernel"].T} for name, tree in params["head"].items()}
    return {**{name: tree for name, tree in params.items() if name != "head"}, **head}


def torch_tensors(case, params):
    """Our parameters as the state of the torch network, in its order; NHWC features become NCHW ones."""
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


def order_of(name):
    """conv_0, norm_0, conv_1, ..., dense_0, ..., logits."""
    kind, _, index = name.partition("_")
    return {"conv": 0, "norm": 0, "dense": 1, "logits": 2}[kind], int(index or 0), kind


def test_same_weights_and_batch_give_the_same_loss_logits_and_adam_step(case):
    run = train.make_train(case.static)
    state = run.init(jnp.uint32(0), case.hyper)
    pixels, labels = case.dataset.train_images, case.dataset.train_labels
    ours = jax.jit(run.segment)(state, case.hyper, pixels, labels, jnp.arange(BATCH), 0, 1)

    plain = rivals.PlainFlax(case, chunk=1)
    variables = {"params": flat(state.params)}
    if state.batch_stats:
        variables["batch_stats"] = state.batch_stats
    flax_state = (variables, plain.adam.init(variables["params"]))
    (flax_variables, _), flax_loss = jax.jit(plain.step)(flax_state, pixels, labels)

    eager = rivals.TorchRun(case, rivals.Choice(layout="channels_last"))
    with torch.no_grad():
        for parameter, value in zip(eager.net.parameters(), torch_tensors(case, state.params), strict=True):
            parameter.copy_(torch.tensor(value))
    torch_loss = eager.step(eager._viewed(eager.images), eager.labels).item()

    assert float(flax_loss) == pytest.approx(float(ours.sums.loss), rel=1e-5)
    assert torch_loss == pytest.approx(float(ours.sums.loss), rel=1e-5)
    for mine, theirs in zip(jax.tree.leaves(flat(ours.params)), jax.tree.leaves(flax_variables["params"]), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    for mine, theirs in zip(torch_tensors(case, ours.params), eager.net.parameters(), strict=True):
        np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=1e-6)

    module = models.MODELS[case.static.model.family](case.static.model)
    after = {"params": ours.params, "batch_stats": ours.batch_stats}
    logits = module.apply(after, pixels / np.float32(255), case.hyper, train=False)
    flax_logits = plain.net.apply(flax_variables, pixels / np.float32(255), train=False)
    eager.net.eval()
    torch_logits = eager.net(eager._viewed(eager.images)).detach().numpy()
    np.testing.assert_allclose(flax_logits, logits, atol=1e-5)
    np.testing.assert_allclose(torch_logits, logits, atol=1e-5)


def test_rivals_draw_their_weights_from_the_same_law(case):
    ours = train.make_train(case.static).init(jnp.uint32(0), case.hyper).params
    eager = [p.detach().numpy() for p in rivals.torch_net(case).parameters()]
    plain, _ = rivals.PlainFlax(case, chunk=1).init(jax.random.key(0))
    for mine, torchs in zip(torch_tensors(case, ours), eager, strict=True):
        assert np.abs(mine).max() == pytest.approx(np.abs(torchs).max(), rel=0.15)
    for mine, flaxs in zip(jax.tree.leaves(flat(ours)), jax.tree.leaves(plain["params"]), strict=True):
        assert np.abs(mine).max() == pytest.approx(np.abs(flaxs).max(), rel=0.15)


def test_channels_last_is_what_it_says(case):
    run = rivals.TorchRun(case, rivals.Choice(layout="channels_last"))
    assert run._viewed(run.images).stride()[1] == 1
    convolutions = [m for m in run.net if isinstance(m, torch.nn.Conv2d)]
    if convolutions:
        assert convolutions[0](run._viewed(run.images)).stride()[1] == 1


def test_smoke_writes_json_and_png(tmp_path):
    out = tmp_path / "deep" / "throughput.json"
    command = [sys.executable, "-m", "benchmarks.throughput", "--smoke", "--workload=cnn", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC DATA" in done.stdout
    found = json.loads(out.read_text())
    (case,) = found["cases"]
    assert set(case["contenders"]) == {"fmnist_jax", "PyTorch float32", "PyTorch bfloat16", "plain Flax"}
    for row in case["contenders"].values():
        assert row["images_per_second"]["n"] == len(row["images_per_second"]["samples"]) == 1
        assert row["ours_is"]["median"] > 0
        assert 0 <= row["test_accuracy"] <= 1
    assert [goal["rival"] for goal in found["goals"]] == ["PyTorch float32", "plain Flax"]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
