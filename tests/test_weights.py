"""Weights pass between torchvision's ResNet-18 and ours by name: same outputs and gradients; bad files are refused."""

import hashlib
import io
import json
import shutil
import sys
import types
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from helpers import same_bits
from rich.console import Console
from test_resnet import narrow, resnet  # noqa: F401 -- a fixture

from fmnist_jax import (
    arms,
    config,
    data,
    experiment,
    groups,
    losses,
    models,
    plan,
    session,
    study,
    sweep,
    train,
    weights,
)
from fmnist_jax.errors import UserError


def network(classes=10, method="blocked"):
    """(module, hyper, shapes of the first state) of a ResNet-18."""
    static, hyper = experiment.resolve(config.parse(resnet()), (28, 28, 1), classes, 192, method)
    state = jax.eval_shape(train.make_train(static).init, jax.ShapeDtypeStruct((), "uint32"), hyper)
    return models.MODELS["resnet18"](static.model), hyper, weights.Variables(state.params, state.batch_stats)


def names_of(wanted):
    """torchvision's name -> PyTorch's shape, by a rule of its own."""
    found = {"fc.weight": wanted.params["fc"]["kernel"].shape, "fc.bias": wanted.params["fc"]["bias"].shape}
    for name, stats in jax.tree.flatten_with_path(wanted.batch_stats)[0]:
        *path, leaf = (key.key for key in name)
        torch_name = ".".join(path).replace("_", ".")
        found[f"{torch_name}.running_{leaf}"] = stats.shape
        found[f"{torch_name}.weight"] = found[f"{torch_name}.bias"] = stats.shape
    for name, kernel in jax.tree.flatten_with_path(wanted.params)[0]:
        *path, leaf = (key.key for key in name)
        if len(kernel.shape) == 4:
            found[".".join(path).replace("_", ".") + ".weight"] = tuple(kernel.shape[i] for i in (3, 2, 0, 1))
    return found


@pytest.fixture
def small(narrow):  # noqa: F811
    """(shapes wanted, tensors of a file that fits) of a narrow network."""
    wanted = network()[2]
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in names_of(wanted).items()}
    return wanted, {k: np.abs(v) if k.endswith("running_var") else v for k, v in tensors.items()}


def saved(path, tensors):
    safetensors.numpy.save_file(tensors, path)
    return str(path)


def test_every_tensor_goes_to_the_place_of_its_name(small, tmp_path):
    wanted, tensors = small
    count = {"bn1.num_batches_tracked": np.array(3)}
    found = weights.load(saved(tmp_path / "a.safetensors", tensors | count), wanted)
    assert found.fresh == ()
    assert len(found.sha256) == 64
    params, stats = found.variables
    block = params["layer2_0"]
    assert np.array_equal(block["conv1"]["kernel"][1, 2], tensors["layer2.0.conv1.weight"][:, :, 1, 2].T)
    assert np.array_equal(block["downsample_0"]["kernel"][0, 0], tensors["layer2.0.downsample.0.weight"][..., 0, 0].T)
    assert np.array_equal(block["downsample_1"]["scale"], tensors["layer2.0.downsample.1.weight"])
    assert np.array_equal(stats["layer1_0"]["bn2"]["var"], tensors["layer1.0.bn2.running_var"])
    assert np.array_equal(params["fc"]["kernel"], tensors["fc.weight"])
    assert jax.tree.map(jnp.shape, found.variables) == jax.tree.map(jnp.shape, wanted)


def test_another_number_of_classes_leaves_the_last_layer_as_it_was_drawn(small, tmp_path):
    wanted, tensors = small
    more = {"fc.weight": np.zeros((1000, 24), np.float32), "fc.bias": np.zeros(1000, np.float32)}
    found = weights.load(saved(tmp_path / "a.safetensors", tensors | more), wanted)
    assert found.fresh == ("fc.weight", "fc.bias")
    runs = train.State(0, 0, *jax.tree.map(lambda leaf: np.full((2, *leaf.shape), 7, leaf.dtype), wanted), 0, 0, 0, 0)
    state = weights.over(runs, found)
    assert (state.params["fc"]["kernel"] == 7).all()
    assert state.params["fc"]["kernel"].shape == (2, 10, 24)
    for run in (0, 1):
        assert np.array_equal(state.params["bn1"]["scale"][run], tensors["bn1.weight"])


def without(tensors, name):
    return {k: v for k, v in tensors.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, "layer1.0.conv1.weight"), "has no 'layer1.0.conv1.weight'"),
        (lambda t: without(t, "fc.bias"), "has no 'fc.bias'"),
        (
            lambda t: t | {"layer9.0.conv1.weight": np.zeros(1)},
            "has 'layer9.0.conv1.weight', which this network has not",
        ),
        (lambda t: t | {"bn1.bias": np.zeros(5, np.float32)}, "'bn1.bias' is [5], where [16] is wanted"),
        (lambda t: t | {"conv1.weight": np.zeros((16, 3, 3, 3), np.float32)}, "is [16, 3, 3, 3], where [16, 3, 7, 7]"),
        (
            lambda t: t | {"fc.weight": np.zeros((9, 24), np.float32)},
            "'fc.weight' is [9, 24], where [10, 24] is wanted",
        ),
        (lambda t: t | {"bn1.bias": np.zeros(16, np.int32)}, "'bn1.bias' holds int32, where floating-point numbers"),
        (lambda t: t | {"bn1.bias": np.full(16, np.nan, np.float32)}, "'bn1.bias' holds values that are not finite"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(small, tmp_path, change, message):
    wanted, tensors = small
    path = saved(tmp_path / "a.safetensors", change(tensors))
    with pytest.raises(UserError) as caught:
        weights.load(path, wanted)
    assert f"model.weights={path!r}: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused(small, tmp_path):
    wanted, tensors = small
    path = saved(tmp_path / "a.safetensors", tensors)
    content = (tmp_path / "a.safetensors").read_bytes()
    for cut in (4, 200, len(content) - 8):
        (tmp_path / "a.safetensors").write_bytes(content[:cut])
        with pytest.raises(UserError, match="damaged, or no safetensors file"):
            weights.load(path, wanted)
    with pytest.raises(UserError, match="there is no such file"):
        weights.load(str(tmp_path / "b.safetensors"), wanted)
    with pytest.raises(UserError, match="must end in .safetensors, .pth or .pt"):
        weights.load(str(tmp_path / "a.h5"), wanted)


def test_without_torch_a_pth_says_what_to_do(small, tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="needs PyTorch to be read; pip install torch, or save it once as .safetensors"):
        weights.load(str(tmp_path / "a.pth"), small[0])


def test_a_torch_that_may_run_code_of_a_file_is_refused(small, tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(__version__="2.5.1+cpu"))
    with pytest.raises(UserError, match=r"PyTorch 2.5.1\+cpu may run code of a file that it reads"):
        weights.load(str(tmp_path / "a.pth"), small[0])


def test_the_hub_is_asked_for_the_repository_s_file(small, tmp_path, monkeypatch):
    wanted, tensors = small
    path, asked = saved(tmp_path / "a.safetensors", tensors), []

    def download(repo, name):
        asked.append((repo, name))
        if repo == "o/gone":
            raise OSError("we are\noffline")
        return path

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    assert weights.load("hf:timm/resnet18", wanted).path.name == "a.safetensors"
    weights.load("hf:o/n/sub/b.safetensors", wanted)
    assert asked == [("timm/resnet18", "model.safetensors"), ("o/n", "sub/b.safetensors")]
    with pytest.raises(UserError, match="'hf:o/gone': not fetched .OSError: we are.; give a file that is here"):
        weights.load("hf:o/gone", wanted)
    with pytest.raises(UserError, match="must be hf:OWNER/NAME or"):
        weights.load("hf:resnet18", wanted)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="needs huggingface_hub; pip install 'fmnist-jax.hub.'"):
        weights.load("hf:o/n", wanted)


def test_runs_start_from_the_file_and_arms_do_not_mix(small, tmp_path):
    wanted, tensors = small
    path = saved(tmp_path / "a.safetensors", tensors)
    checked = config.parse(resnet(seeds=2, sweep=sweep.product({"model.weights": ("", path)})))
    workshop = groups.Workshop(checked)
    parts = groups.divide(workshop, arms.arms_of(checked))
    assert [len(runs) for _, runs in parts] == [2, 2]
    (part,) = [part for part in parts if part[0][0].static.weights]
    group = workshop.group("0", *part)
    begun = session._Session(group, workshop.dataset(group.source), tmp_path, checked, None)
    state = begun.population.get(begun._begin())
    for run in (0, 1):
        ours = jax.tree.map(lambda leaf, run=run: leaf[run], (state.params, state.batch_stats))
        assert same_bits(ours, tuple(weights.load(path, wanted).variables))
    facts = json.loads((tmp_path / "weights.json").read_text())
    assert facts["weights"] == facts["file"] == path
    assert facts["sha256"] == hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert facts["fresh"] == []


def test_a_file_that_does_not_fit_is_refused_before_there_is_anything_to_leave_behind(small, tmp_path):
    _, tensors = small
    path = saved(tmp_path / "a.safetensors", without(tensors, "bn1.bias"))
    with pytest.raises(UserError, match="has no 'bn1.bias'"), open(tmp_path / "shown", "w") as shown:
        study.run(config.parse(resnet(model__weights=path)), tmp_path / "w", Console(file=shown))
    assert not (tmp_path / "w").exists()


def measured(c, directory):
    """(results, what the terminal showed) of a study of weights that are not trained."""
    shown = io.StringIO()
    return study.run(config.parse(c), directory, Console(file=shown, width=100)), shown.getvalue()


def untrained(path, **changes):
    shape = {"evaluation__batch_size": 30, "evaluation__activities": 25, "seeds": 1, "train__duration": "0 steps"}
    return resnet(model__weights=path, population__conv="lax", **shape, **changes)


def test_zero_steps_measure_the_weights_as_they_are(small, tmp_path):
    wanted, tensors = small
    path, images = saved(tmp_path / "a.safetensors", tensors), data.load("synthetic:240")
    module, hyper, _ = network(method="lax")

    @jax.jit
    def forward(variables):
        return module.apply(variables._asdict(), images.test_images / 255.0, hyper, train=False)

    tensors["fc.bias"] -= np.asarray(forward(weights.load(path, wanted).variables)).mean(0)  # else all are one class
    logits = np.asarray(forward(weights.load(saved(path, tensors), wanted).variables))
    assert len(set(logits.argmax(-1))) > 3
    c = untrained(path)
    found, shown = measured(c, tmp_path / "w")
    with np.load(tmp_path / "w/groups/0/predictions.npz") as file:
        assert np.array_equal(file["test"], [logits.argmax(-1)])
    with np.load(tmp_path / "w/groups/0/activities.npz") as file:
        np.testing.assert_allclose(file["logits"][0], np.corrcoef(logits[:25].T), atol=1e-3)
    assert found.table["test_accuracy"].tolist() == [pytest.approx((logits.argmax(-1) == images.test_labels).mean())]
    assert found.table[["step", "epoch"]].to_numpy().tolist() == [[0, 0]]
    assert found.table["diverged_at"].isna().all()
    assert not [name for name in found.table if name.startswith(("train_loss", "train_accuracy"))]
    assert found.curves[["step", "seed"]].to_numpy().tolist() == [[0, 0]]
    assert "not trained, measured as loaded  validation" in shown
    assert json.loads((tmp_path / "w/summary.json").read_text())["images_per_second"] is None
    log = tmp_path / "w/groups/0/metrics.jsonl"
    before = log.read_bytes(), log.stat().st_mtime_ns
    again, _ = measured(c, tmp_path / "w")  # does nothing
    assert (log.read_bytes(), log.stat().st_mtime_ns) == before
    assert len(list((tmp_path / "w/groups/0/sessions").iterdir())) == 1
    for path, lost in ((log, 0), (tmp_path / "w/groups/0/done.json", 1)):  # killed: before its checkpoint, and after
        (tmp_path / "w/groups/0/done.json").unlink(missing_ok=True)
        if not lost:
            shutil.rmtree(tmp_path / "w/groups/0/checkpoints")
        again, _ = measured(c, tmp_path / "w")
        assert again.curves.equals(found.curves), path
        assert again.table["test_loss"].tolist() == found.table["test_loss"].tolist()


def test_an_arm_that_is_not_trained_stands_beside_one_that_is(small, tmp_path):
    c = untrained(saved(tmp_path / "a.safetensors", small[1]), dataset__images=80, writers__page=True)
    c.sweep = sweep.product({"train.duration": ("0 steps", "2 steps")})
    c.evaluation.timed_steps, c.evaluation.activities, c.train.batch_size = 1, 0, 4
    found, shown = measured(c, tmp_path / "w")
    by_arm = found.table.set_index("arm")
    as_loaded = by_arm.loc["duration=0 steps"]
    assert np.isnan(as_loaded["train_loss"])
    assert np.isnan(as_loaded["alone_seconds"])
    assert by_arm["test_loss"].notna().all()
    assert by_arm.loc["duration=2 steps", "alone_seconds"] > 0
    assert "group 1/2  0% of the study  1 run  not trained, measured as loaded" in shown
    assert (tmp_path / "w/report.html").exists()


def test_a_refit_of_weights_that_are_not_trained_trains_nothing(small, tmp_path):
    c = untrained(saved(tmp_path / "a.safetensors", small[1]), dataset__images=80, writers__page=True)
    c.selection.weights, c.selection.refit, c.evaluation.activities = "best", True, 0
    (estimate,) = plan.show(config.parse(c), tmp_path / "w", Console(quiet=True))
    assert estimate.steps == 0
    assert 0 < estimate.seconds < 60
    measured(c, tmp_path / "w")
    assert json.loads((tmp_path / "w/refit/done.json").read_text())["step"] == 0


def test_zero_steps_of_an_arm_that_draws_its_weights_are_refused(small, tmp_path):
    path = saved(tmp_path / "a.safetensors", small[1])
    c = untrained(path, sweep=sweep.product({"model.weights": (path, "")}))
    with pytest.raises(UserError, match="arm model.weights='': train.duration='0 steps': trains nothing"):
        arms.arms_of(config.parse(c))


def of_torch(*stages, blocks=2):
    """torchvision's ResNet-18 in torch, written out here, with weights and statistics that are nobody's default.

    Or fewer and narrower `stages`, (filters, stride) each, of so many blocks.
    """
    stages = stages or ((64, 1), (128, 2), (256, 2), (512, 2))
    torch = pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, channels, filters, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(filters)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(filters)
            self.downsample = None
            if channels != filters:
                conv = nn.Conv2d(channels, filters, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(filters))

        def forward(self, x):
            shortcut = x if self.downsample is None else self.downsample(x)
            return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + shortcut)

    class ResNet18(nn.Module):
        def __init__(self, classes):
            super().__init__()
            channels = stages[0][0]
            self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            for i, (filters, stride) in enumerate(stages, 1):
                first = Block(channels, filters, stride)
                rest = [Block(filters, filters, 1) for _ in range(blocks - 1)]
                self.add_module(f"layer{i}", nn.Sequential(first, *rest))
                channels = filters
            self.fc = nn.Linear(channels, classes)

        def forward(self, x):
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            for i, _ in enumerate(stages, 1):
                x = getattr(self, f"layer{i}")(x)
            return self.fc(x.mean((2, 3)))

    torch.manual_seed(0)
    net = ResNet18(10)
    for name, value in net.state_dict().items():
        if name.endswith(("bn1.weight", "bn2.weight", "downsample.1.weight", "running_var")):
            value.uniform_(0.5, 1.5)
        elif "bn" in name and name.endswith(("bias", "running_mean")):
            value.normal_(0, 0.1)
    return net


@pytest.fixture(scope="module")
def theirs():
    return of_torch()


def pixels(size, n=8):
    return np.random.default_rng(1).normal(size=(n, size, size, 1)).astype(np.float32)


def as_torch(images):
    import torch

    return torch.from_numpy(np.repeat(images, 3, axis=-1).transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize(("ending", "size", "method"), [(".safetensors", 28, "blocked"), (".pth", 64, "lax")])
def test_outputs_are_torch_s(theirs, tmp_path, ending, size, method):
    import torch

    path = tmp_path / f"a{ending}"
    if ending == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        tensors = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
        safetensors.numpy.save_file(tensors, path)
    module, hyper, wanted = network(method=method)
    variables = weights.load(str(path), wanted).variables._asdict()
    logits = jax.jit(lambda images: module.apply(variables, images, hyper, train=False))(pixels(size))
    with torch.no_grad():
        np.testing.assert_allclose(logits, theirs.eval()(as_torch(pixels(size))), atol=1e-4)


def test_training_outputs_and_gradients_are_torch_s(narrow, tmp_path):  # noqa: F811
    theirs = of_torch((16, 1), (24, 2), blocks=1)
    import torch

    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    module, hyper, wanted = network(method="patches")
    params, stats = weights.load(str(tmp_path / "a.pt"), wanted).variables
    images, labels = pixels(28, 16), np.arange(16) % 10

    @jax.jit
    def by_params(params):
        def loss(params):
            both = {"params": params, "batch_stats": stats}
            logits, updated = module.apply(both, images, hyper, train=True, mutable=["batch_stats"])
            return losses.per_example("cross_entropy", logits, labels, 0.0).mean(), (logits, updated["batch_stats"])

        return jax.grad(loss, has_aux=True)(params)

    grads, (logits, updated) = by_params(params)
    theirs.train().zero_grad()
    expected = theirs(as_torch(images))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()
    np.testing.assert_allclose(logits, expected.detach(), atol=1e-3)
    np.testing.assert_allclose(updated["bn1"]["mean"], theirs.bn1.running_mean, atol=1e-5)
    parameters = dict(theirs.named_parameters())
    for keys, ours in jax.tree.flatten_with_path(grads)[0]:
        *path, leaf = (key.key for key in keys)
        value = parameters[".".join(path).replace("_", ".") + (".bias" if leaf == "bias" else ".weight")].grad.numpy()
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        assert np.abs(ours - value).max() <= 1e-3 * np.abs(value).max() + 1e-7, (path, leaf)


def test_a_pth_that_is_no_state_dict_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")
    wanted, path = network()[2], tmp_path / "a.pth"
    for value, message in (
        ([1, 2], "holds a list, where a state dict"),
        ({"conv1.weight": 3}, "'conv1.weight' is a int, where a tensor is wanted"),
        (torch.nn.Linear(2, 2), "damaged, or holds more than tensors"),
    ):
        torch.save(value, path)
        with pytest.raises(UserError, match=message):
            weights.load(str(path), wanted)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged, or holds more than tensors"):
        weights.load(str(path), wanted)


def test_a_pth_that_would_take_more_memory_than_room_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")
    wanted, path = network()[2], tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(UserError, match="its parts are larger than it is"):
        weights.load(str(path), wanted)
    torch.save({"fc.bias": torch.zeros(1, dtype=torch.float64).expand(10**6)}, path)
    with pytest.raises(UserError, match="'fc.bias' has more numbers than the file"):
        weights.load(str(path), wanted)
