"""The promises of DESIGN.md: each a law, each with a test that fails when it is broken."""

import ast
import dataclasses
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import build, images, mlp, resolved, run_of, same_bits, tiny, trained

from fmnist_jax import arms, augment, config, experiment, metrics, paper, population, results, train

ROOT = Path(__file__).parent.parent
SGD = {"optimizer__name": "sgd", "optimizer__learning_rate": 1.0}
STEPS = 18  # crosses an epoch of 12 steps


@pytest.fixture(scope="module")
def mapped():
    """Three mapped runs on one device, trained."""
    pop, inputs = build(tiny())
    return trained(pop, inputs, STEPS)


def test_law_1_a_mapped_run_has_the_bits_it_has_alone(mapped):
    pop, inputs = build(tiny(), seeds=(1,))
    assert same_bits(run_of(trained(pop, inputs, STEPS), 0), run_of(mapped, 1))


def test_law_1_augmented_runs_have_the_bits_they_have_alone():
    """All operations, those of colours too."""
    ops, key = tuple(augment.AUGMENTATIONS), jax.random.key(7)
    strengths = augment.AugmentHyper(*map(jnp.float32, (0.5, 20, 3, 0.4, 0.4, 0.4, 0.3, 0.1, 0.7, 0.3)))
    keys, hypers = jax.random.split(key, 3), jax.tree.map(lambda leaf: leaf * jnp.array([0.0, 0.5, 1.0]), strengths)
    kernel, x = jax.random.normal(key, (3, 3, 3, 4)), jax.random.uniform(key, (16, 8, 8, 3))

    def features(x, run):  # a convolution reads the images, as in training
        y = augment.standardise(augment.augment(ops, run[0], x, run[1]), 0.3, 0.2)
        return jax.lax.conv_general_dilated(y, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    mapped = jax.jit(lambda x, runs: jax.lax.map(lambda run: features(x, run), runs))
    runs = [jax.tree.map(lambda leaf: leaf[i : i + 1], (keys, hypers)) for i in range(3)]  # noqa: B023
    alone = np.concatenate([mapped(x, run) for run in runs])
    np.testing.assert_array_equal(mapped(x, (keys, hypers)), alone)
    vmapped = jax.jit(jax.vmap(features, (None, 0)))
    np.testing.assert_allclose(vmapped(x, (keys, hypers)), alone, atol=1e-4)


def test_law_1_a_vmapped_run_is_within_tolerance_of_the_run_alone(mapped):
    """18 steps of batch norm and Adam amplify a last bit; the README states 1e-2 of the largest weight."""
    pop, inputs = build(tiny(), mode="vmap")
    vmapped = trained(pop, inputs, STEPS)
    for a, b in zip(jax.tree.leaves(vmapped.params), jax.tree.leaves(mapped.params), strict=True):
        assert np.abs(a - b).max() <= 1e-2 * np.abs(b).max()
    # One step of SGD is the gradient itself: there round-off is all the difference there may be.
    alone = run_of(trained(*build(tiny(**SGD), mode="vmap", seeds=(1,)), 1), 0)
    among = run_of(trained(*build(tiny(**SGD), mode="vmap"), 1), 1)
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(among.params), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_law_1_seeds_differ(mapped):
    kernel = mapped.params["conv_0"]["kernel"]
    assert not np.array_equal(kernel[0], kernel[1])


@pytest.mark.parametrize("cut", [5, 12, 17])
def test_law_2_resumed_equals_uninterrupted(mapped, cut):
    pop, inputs = build(tiny())
    host = trained(pop, inputs, cut)  # what a checkpoint holds
    fresh, inputs = build(tiny())
    state, step = fresh.put(host), cut
    while step < STEPS:
        n = min(STEPS - step, 12 - step % 12)
        state, step = fresh.segment(state, inputs, step, n), step + n
    assert same_bits(fresh.get(state), mapped)


def test_law_2_the_length_of_a_chunk_changes_nothing(mapped):
    pop, inputs = build(tiny())
    assert same_bits(trained(pop, inputs, STEPS, chunk=1), mapped)


def test_law_3_one_trace_a_group_and_none_for_a_new_hyper(monkeypatch):
    traces = []
    population.forget_programs()
    real = train.losses.per_example
    monkeypatch.setattr(train.losses, "per_example", lambda *a: traces.append(1) or real(*a))
    base = tiny()
    hypers = [resolved(base)[1]]
    for key, value in (("optimizer__learning_rate", 0.1), ("loss__smoothing", 0.2), ("augment__shift", 3.0)):
        static, hyper = resolved(tiny(**{key: value}))
        assert static == resolved(base)[0]
        hypers.append(hyper)
    pop, inputs = build(base, seeds=(0, 0, 0, 0), hypers=hypers)
    state = trained(pop, inputs, STEPS, chunk=5)
    assert len(traces) == 1
    kernels = state.params["conv_0"]["kernel"]
    assert all(not np.array_equal(kernels[0], kernels[i]) for i in (1, 2, 3))
    pop.segment(
        pop.put(state),
        dataclasses.replace(inputs, hyper=pop.put(jax.tree.map(lambda x: np.stack([x] * 4), hypers[1]))),
        18,
        2,
    )
    assert len(traces) == 1


def test_law_3_every_hyper_leaves_static_alone():
    """Each traced key, changed, gives the same Static and another Hyper."""
    everything = {
        "augment__ops": ("flip", "rotate", "shift", "brightness", "contrast", "noise", "erase"),
        "model__activation": ("leaky_relu",),
        "model__kernel_init": "truncated_normal",
        "model__dropout": (0.1,),
        "schedule__name": "one_cycle",
        "optimizer__average": 0.9,
    }
    static, hyper = resolved(tiny(**everything))
    halved = (
        *("optimizer__learning_rate", "optimizer__b1", "optimizer__b2", "optimizer__eps", "optimizer__weight_decay"),
        *("optimizer__bias_rate", "optimizer__average"),
        *("schedule__warmup_epochs", "schedule__pct_start", "loss__smoothing", "model__leaky_slope"),
        *("model__norm_momentum", "model__norm_epsilon", "model__init_scale", "model__init_stddev"),
        *("dataset__mean", "dataset__std", "augment__flip", "augment__rotate", "augment__shift", "augment__erase_area"),
        *("augment__brightness", "augment__contrast", "augment__noise", "augment__erase"),
    )
    changes = {
        **dict.fromkeys(halved, 0.45),
        "schedule__div_factor": 5.0,
        "schedule__final_div_factor": 5.0,
        "model__dropout": (0.5,),
        "model__dense_dropout": (0.5,),
    }
    for key, value in changes.items():
        other_static, other_hyper = resolved(tiny(**{**everything, key: value}))
        assert other_static == static, key
        assert not same_bits(other_hyper, hyper), key


def test_law_4_more_devices_same_bits(mapped):
    """Three runs on two devices."""
    pop, inputs = build(tiny(), devices=2)
    assert len(pop.devices) == 2
    assert same_bits(trained(pop, inputs, STEPS), mapped)


def test_law_4_runs_that_do_not_divide_take_turns(mapped):
    """Each of three runs is on the first of two devices in every other chunk, so that neither has more to do."""
    pop, inputs = build(tiny(), devices=2)
    seen = []
    state = pop.init(inputs)
    for step in range(0, 12, 3):
        state = pop.segment(state, inputs, step, 3)
        seen.append([part.step.device for part in state.parts])
    first, second = pop.devices
    assert seen[0] == seen[2] == [second, first, second]
    assert seen[1] == seen[3] == [first, second, first]
    assert same_bits(pop.get(pop.segment(state, inputs, 12, 6)), mapped)


KITCHEN_SINKS = (
    {
        "augment__ops": ("flip", "rotate", "shift", "brightness", "contrast", "noise", "erase"),
        "model__pool": ("soft",),
        "model__activation": ("leaky_relu",),
        "model__dropout": (0.3,),
        "schedule__name": "one_cycle",
        "schedule__warmup_epochs": 0.5,
        "loss__smoothing": 0.1,
        "optimizer__name": "adamw",
        "optimizer__weight_decay": 0.01,
    },
    {
        "augment__ops": (),
        "model__pool": ("average",),
        "model__activation": ("gelu",),
        "model__dense_activation": ("softmax",),
        "model__stride": (2,),
        "model__padding": ("valid",),
        "optimizer__name": "rmsprop",
        "schedule__name": "cosine",
        "loss__name": "poisson",
    },
    {
        "model__activation": ("silu",),
        "model__dense_activation": ("tanh",),
        "optimizer__name": "sgd",
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "optimizer__bias_rate": 4.0,
        "optimizer__average": 0.9,
        "schedule__name": "exponential",
        "loss__name": "mean_squared_error",
    },
)


def test_law_4_the_padding_of_vmapped_runs_costs_no_result():
    """Three runs on two devices, two a device: the fourth is padding, and nobody sees it."""
    pop, inputs = build(mlp(**SGD), devices=2, mode="vmap")
    spread = trained(pop, inputs, 1)
    assert pop.width == 2
    together = trained(*build(mlp(**SGD), mode="vmap"), 1)
    assert spread.step.shape == (3,)
    for a, b in zip(jax.tree.leaves(spread.params), jax.tree.leaves(together.params), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("changes", KITCHEN_SINKS, ids=("adamw", "rmsprop", "sgd"))
def test_laws_1_and_4_hold_for_every_part(changes):
    """Alone, among others, on one device and on two: the same bits, whatever the program is made of."""
    alone = trained(*build(tiny(**changes), seeds=(1,)), 3)
    among = trained(*build(tiny(**changes)), 3)
    spread = trained(*build(tiny(**changes), devices=2), 3)
    assert same_bits(run_of(alone, 0), run_of(among, 1))
    assert same_bits(among, spread)


@pytest.mark.parametrize("batch_size", [1, 7, 48, 500])
def test_law_5_every_example_counts_once(batch_size):
    c = mlp(evaluation__batch_size=batch_size)
    pop, inputs = build(c)
    state = pop.init(inputs)
    args = (inputs.images, inputs.labels, inputs.validation, inputs.validation_size)
    sums, predictions = map(pop.get, pop.evaluate(state, inputs.hyper, *args))
    labels = images(240)[1][192:]
    assert (sums.count == 48).all()
    assert (sums.confusion.sum((1, 2)) == 48).all()
    assert np.array_equal(sums.confusion.sum(2), np.tile(np.bincount(labels, minlength=10), (3, 1)))
    assert np.array_equal(sums.correct, (predictions == labels).sum(1))
    assert np.array_equal(metrics.finalise(sums)["accuracy"], (predictions == labels).mean(1).astype(np.float64))


def test_law_5_padding_of_a_shorter_fold_does_not_count():
    c = mlp(evaluation__batch_size=20)
    pop, inputs = build(c, seeds=(0, 0))
    sizes = pop.put(np.array([48, 31], np.int32))
    state = pop.init(inputs)
    sums, _ = pop.evaluate(state, inputs.hyper, inputs.images, inputs.labels, inputs.validation, sizes)
    sums = pop.get(sums)
    assert sums.count.tolist() == [48, 31]


def test_law_6_nothing_of_the_validation_part_is_trained_on(mapped):
    """Other pixels in the validation part: the trained bits do not move."""
    pop, inputs = build(tiny())
    pixels = images(240)[0]
    pixels[192:] = 255 - pixels[192:]
    inputs = dataclasses.replace(inputs, images=pop.share(pixels))
    assert same_bits(trained(pop, inputs, STEPS), mapped)


def test_an_epoch_sees_each_example_once():
    pop, _ = build(tiny(train__batch_size=16))
    run = train.make_train(pop.static)
    first, second = (
        np.asarray(run.order(np.uint32(0), epoch, np.arange(192, dtype=np.int32), np.int32(192))) for epoch in (0, 1)
    )
    assert np.array_equal(np.sort(first), np.arange(192))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("value", [np.nan, 1e30, np.inf])
def test_a_run_that_diverges_leaves_the_others_their_bits(mapped, value):
    hyper = resolved(tiny())[1]
    broken = hyper._replace(schedule=hyper.schedule._replace(learning_rate=np.float32(value)))
    pop, inputs = build(tiny(), hypers=[hyper, broken, hyper])
    state = trained(pop, inputs, STEPS)
    assert state.diverged_at.tolist()[::2] == [-1, -1]
    assert 0 <= state.diverged_at[1] <= 3
    assert same_bits(run_of(state, 0), run_of(mapped, 0))
    assert same_bits(run_of(state, 2), run_of(mapped, 2))


def test_divergence_in_the_last_step_of_a_segment_is_marked():
    hyper = resolved(tiny())[1]
    broken = hyper._replace(schedule=hyper.schedule._replace(learning_rate=np.float32(np.nan)))
    pop, inputs = build(tiny(), hypers=[broken], seeds=(0,))
    state = trained(pop, inputs, 1)
    assert state.diverged_at.tolist() == [-1]
    closed = pop.get(pop.close_segment(pop.put(state), inputs, None))
    assert closed.diverged_at.tolist() == [1]
    assert closed.sums.steps.tolist() == [0]


CONFIGS = sorted((ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_law_8_every_config_builds_and_says_what_it_is(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for part in (None, *getattr(module, "PARTS", ())):
        checked = config.parse(module.get_config() if part is None else module.get_config(part))
        parts = config.parts(checked)
        if parts:
            paper.check_asked(checked, parts)
        for study in parts.values() if parts else (checked,):
            study_arms = arms.arms_of(study)
            results.check_claims(study, study_arms)
            for arm in study_arms:
                shape, classes = ((100, 100, 3), 33) if "folder" in arm.experiment.dataset.name else ((28, 28, 1), 10)
                static, hyper = experiment.resolve(arm.experiment, shape, classes, 1600, "blocked")
                assert part is not None or train.param_count(static, hyper) > 1000
    for word in ("Source:", "Command:", "Cost:", "Expect:"):
        assert word in module.__doc__


LEAVES = (
    *("errors", "fields", "signals", "activations", "pooling", "convolution", "init", "layers", "losses", "metrics"),
    *("schedules", "optim", "augment", "share", "stats", "streaming", "sweep", "tidy"),
)
MAY_IMPORT = {
    **{leaf: {"errors"} for leaf in LEAVES},
    "convolution": {"activations", "pooling"},
    "layers": {"convolution", "init"},
    "config": set(LEAVES),
    "arms": {"config", *LEAVES},
    "data": {"errors", "writers"},
    "models": {"activations", "convolution", "errors", "experiment", "init", "layers", "whitening"},
    "experiment": {"config", "models", *LEAVES},
    "train": {"experiment", "data", "models", *LEAVES},
    "forms": {"errors", "experiment", "models"},
    "population": {"experiment", "forms", "sharding", "streaming", "train"},
    "memory": {"experiment", "models", "train"},
    "sharding": {"data", "errors", "experiment"},
    "terminal": {"stats"},
    "writers": {"errors"},
    "leases": {"errors"},
    "hosts": {"errors", "signals"},
    "bucket": {"errors", "leases"},
    "store": {"leases", "remote", "workdir"},
    "remote": {"bucket", "data", "errors", "leases", "store"},
    "activities": {"places", "writers"},
    "merge": {"errors", "places", "workdir", "writers"},
    "weights": {"errors"},
    "whitening": {"programs"},
    "checkpoint": {"errors", "hosts", "writers"},
    "workdir": {"config", "errors", "leases", "writers"},
    "programs": {"config", "data", "experiment", "forms", "memory", "population", "sharding", "streaming"},
    "testing": {
        *("activities", "checkpoint", "config", "data", "errors", "hosts", "metrics"),
        *("population", "programs", "train", "writers"),
    },
    "attempt": {"errors", "hosts", "leases", "testing"},
    "together": {
        *("arms", "attempt", "carry", "config", "data", "errors", "groups", "hosts", "memory", "places", "programs"),
        *("refit", "session", "signals", "store", "terminal", "testing", "workdir", "writers"),
    },
    "places": {"arms", "errors", "groups", "programs", "train", "writers"},
    "reading": {
        "activities",
        "arms",
        "errors",
        "places",
        "references",
        "session",
        "stats",
        "tidy",
        "timing",
        "writers",
    },
    "timing": {"arms", "config", "experiment", "groups", "population", "programs", "workdir", "writers"},
    "trial": {"config", "data", "forms", "programs", "sharding", "timing"},
    "profiling": {"config", "errors", "paper", "plan", "timing", "trial"},
    "references": {"arms", "config", "data", "errors", "groups", "memory", "writers"},
    "claims": {"stats", "tidy"},
    "analysis": {"claims", "stats", "tidy"},
    "exhibits": {"analysis", "claims", "stats", "tidy"},
    "report": {"analysis", "claims", "errors", "exhibits", "merge", "paper", "reading", "store", "tidy", "writers"},
}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room):
    files = [ROOT / "fmnist_jax" / f"{room}.py", *(ROOT / "fmnist_jax" / room).glob("*.py")]
    assert any(path.exists() for path in files)
    imported = set()
    for node in [node for path in files if path.exists() for node in ast.walk(ast.parse(path.read_text()))]:
        if isinstance(node, ast.ImportFrom) and node.module == "fmnist_jax":
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("fmnist_jax."):
            imported.add(node.module.split(".")[1])
    assert imported <= MAY_IMPORT[room] | {room}


def test_one_room_reads_the_test_set():
    """Law 6: of all the package, one function names the test images that it does not load itself."""
    named = {}
    for path in (ROOT / "fmnist_jax").rglob("*.py"):
        if path.parent.name != "data" and (count := path.read_text().count(".test_images")):
            named[path.stem] = count
    # To test, and to correlate activities; to keep pictures of what was got wrong; to test reference arms, when all is
    # trained and tested.
    assert named == {"testing": 2, "outcomes": 1, "references": 1}
