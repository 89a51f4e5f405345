"""Runs into groups: one for each program and data set, cut where memory ends, and extended without loss."""

import jax
import numpy as np
import pytest
from helpers import build, mlp, tiny

from fmnist_jax import arms, config, data, forms, groups, memory, places, sweep
from fmnist_jax.errors import UserError

TRACED = {
    "optimizer.learning_rate": 1e-2,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 1e-4,
    "model.dense_dropout": (0.5,),
    "model.leaky_slope": 0.1,
    "model.init_scale": 2.0,
    "loss.smoothing": 0.1,
    "augment.shift": 1.0,
    "augment.flip": 0.25,
    "dataset.mean": 0.5,
    "selection.patience": 4,
}


def parts_of(c, there=(), limits=None):
    """[(arm name, seed, fold)] a group, in order."""
    checked = config.parse(c)
    divided = groups.divide(groups.Workshop(checked), arms.arms_of(checked), there, limits)
    return [[(made[i].arm.name, seed, fold) for i, seed, fold in runs] for made, runs in divided]


def test_law_3_a_sweep_over_what_is_traced_is_one_group():
    c = tiny(optimizer__name="sgd", model__dense_activation=("leaky_relu",), selection__patience=2, seeds=1)
    c.sweep = sweep.chain([{}], *(sweep.product({key: (value,)}) for key, value in TRACED.items()))
    (part,) = parts_of(c)
    assert len(part) == 1 + len(TRACED)


def test_what_compiles_differently_is_another_group_the_quick_ones_first():
    c = mlp(seeds=2, sweep=sweep.product({"model.dense": ((9,), (3,)), "optimizer.learning_rate": (0.1, 0.2)}))
    assert [sorted({arm for arm, _, _ in part}) for part in parts_of(c)] == [
        ["dense=3,learning_rate=0.1", "dense=3,learning_rate=0.2"],
        ["dense=9,learning_rate=0.1", "dense=9,learning_rate=0.2"],
    ]


def test_other_data_is_another_group():
    c = mlp(seeds=1, sweep=sweep.product({"dataset.name": ("synthetic:240", "synthetic:260")}))
    assert len(parts_of(c)) == 2
    c = mlp(seeds=1, sweep=sweep.product({"dataset.split_seed": (0, 1)}))
    assert len(parts_of(c)) == 2


def test_seeds_and_folds_are_axes_of_a_group():
    c = mlp(seeds=2, first_seed=5, folds=3, sweep=sweep.product({"loss.smoothing": (0.0, 0.1)}))
    (part,) = parts_of(c)
    assert part[:4] == [
        ("smoothing=0.0", 5, 0),
        ("smoothing=0.1", 5, 0),
        ("smoothing=0.0", 5, 1),
        ("smoothing=0.1", 5, 1),
    ]
    assert len(part) == len(set(part)) == 12


def test_a_group_is_cut_where_memory_ends_and_no_run_is_lost():
    c = mlp(seeds=5, sweep=sweep.product({"loss.smoothing": (0.0, 0.1, 0.2)}))
    whole = parts_of(c)
    checked = config.parse(c)
    one = groups.Workshop(checked).prepare(arms.arms_of(checked)[0])
    room = memory.of_group(one.static, one.hyper, 4, "vmap", 2)
    with c.unlocked():
        c.population.mode = "vmap"
        c.population.memory_gb = room / 1e9
    cut = parts_of(c)
    assert [len(part) for part in cut] == [3, 4, 4, 4]
    assert sorted(run for part in cut for run in part) == sorted(whole[0])
    assert {arm for arm, _, _ in cut[0]} == {"smoothing=0.0", "smoothing=0.1", "smoothing=0.2"}


def test_memory_counts_states_and_work():
    checked = config.parse(mlp())
    one = groups.Workshop(checked).prepare(arms.arms_of(checked)[0])
    weights = 784 * 6 + 6 + 6 * 10 + 10
    images = 13 * 16  # which they are and in what order: int32, four times
    assert memory.of_run(one.static, one.hyper) == pytest.approx(6 * 4 * 3 * weights + 4 * 4 * images, rel=0.01)
    two, four = (memory.of_group(one.static, one.hyper, n, "vmap", 2) for n in (2, 4))
    assert four == 2 * two
    for mode in ("map", "vmap"):
        for limit in (two, 10 * four):
            most = memory.most_runs(one.static, one.hyper, mode, 2, limit)
            assert memory.of_group(one.static, one.hyper, most, mode, 2) <= limit
            assert memory.of_group(one.static, one.hyper, most + 1, mode, 2) > limit


def test_runs_that_are_there_are_left_out():
    c = mlp(seeds=2)
    first, second = (key for _, key in groups.wanted(config.parse(c), arms.arms_of(config.parse(c))))
    assert (first.seed, second.seed) == (0, 1)
    assert parts_of(c, there=[first]) == [[("base", 1, 0)]]
    assert parts_of(c, there=[first, second]) == []


def test_the_data_are_loaded_once(monkeypatch):
    loads = []
    c = mlp(sweep=sweep.product({"loss.smoothing": (0.0, 0.1), "model.dense": ((3,), (4,))}))
    checked = config.parse(c)
    workshop = groups.Workshop(checked, lambda *a, **k: loads.append(a) or data.load(*a, **k))
    groups.divide(workshop, arms.arms_of(checked))
    assert len(loads) == 1
    assert len(workshop.fingerprints()) == 1


def test_law_6_folds_partition_the_training_set():
    checked = config.parse(mlp(folds=5))
    split = groups.Workshop(checked).split(checked.dataset)
    validation = np.concatenate([split.validation[f, : split.validation_size[f]] for f in range(5)])
    assert sorted(validation) == list(range(240))
    for f in range(5):
        train, own = split.train[f, : split.train_size[f]], split.validation[f, : split.validation_size[f]]
        assert not set(train) & set(own)
    whole = groups.Workshop(checked).split(checked.dataset, whole=True)
    assert whole.train.tolist() == [list(range(240))]
    assert whole.validation.shape == (1, 0)


def test_a_place_builds_the_group_it_was_made_from(tmp_path):
    c = mlp(seeds=2, sweep=sweep.product({"model.dense": ((3,), (3, 4)), "optimizer.learning_rate": (0.1, 0.2)}))
    checked = config.parse(c)
    workshop = groups.Workshop(checked)
    parts = groups.divide(workshop, arms.arms_of(checked))
    places.make(tmp_path, parts)
    for (made, runs), place in zip(parts, places.there(tmp_path), strict=True):
        built, wanted = place.build(workshop), workshop.group(place.name, made, runs)
        assert (built.runs, built.static) == (wanted.runs, wanted.static)
        assert np.array_equal(built.hyper.schedule.learning_rate, wanted.hyper.schedule.learning_rate)
    assert [place.name for place in places.there(tmp_path)] == ["0", "1"]


def test_a_look_sees_what_other_processes_have_made_split_and_trained(tmp_path):
    checked = config.parse(mlp(seeds=4, population__most_runs=1))
    study_arms = arms.arms_of(checked)
    parts = groups.divide(groups.Workshop(checked), study_arms)
    places.make(tmp_path, parts[:3])
    standing = places.Standing(tmp_path, {key for _, key in groups.wanted(checked, study_arms)})

    def look():
        return [place.name for place in standing.look()]

    assert look() == ["0", "1", "2"]
    (tmp_path / "groups/0/done.json").touch()
    (tmp_path / "groups/1/failed.json").write_text('{"error": "out of luck"}')
    assert (look(), standing.trained) == (["2"], {"0"})
    (tmp_path / "groups/3").mkdir()  # another process is about to make it
    assert look() == ["2"]
    places.make(tmp_path, parts[3:])
    assert look() == ["2", "3"]
    (tmp_path / "groups/2/split.json").write_text('{"most": 1}')
    assert look() == ["3"]
    (tmp_path / "groups/0/done.json").unlink()  # found damaged by another process, which trains it
    assert look() == ["3"]
    assert [place.name for place in standing.refresh().waiting] == ["0", "3"]
    assert look() == ["0", "3"]


def test_a_group_that_does_not_fit_goes_on_at_half_its_width(tmp_path):
    checked = config.parse(mlp(seeds=3))
    workshop, study_arms = groups.Workshop(checked), arms.arms_of(checked)
    places.make(tmp_path, groups.divide(workshop, study_arms))
    (place,) = places.there(tmp_path)
    place.split()
    halves = groups.divide(workshop, study_arms, limits=dict.fromkeys(place.runs, place.most))
    assert [len(runs) for _, runs in halves] == [1, 2]


def test_a_part_of_the_images_is_all_that_is_trained_on_or_validated():
    def split(**changes):
        checked = config.parse(mlp(dataset__images=80, **changes))
        workshop = groups.Workshop(checked)
        labels = workshop.dataset(checked.dataset).train_labels
        return labels, workshop.split(checked.dataset), workshop.split(checked.dataset, whole=True)

    labels, of_folds, whole = split(folds=4)
    used = set(whole.train[0])
    assert np.bincount(labels[sorted(used)]).tolist() == [8] * 10
    for fold in range(4):
        own, held = of_folds.train[fold], of_folds.validation[fold]
        assert (len(own), len(held), set(own) | set(held)) == (60, 20, used)
        assert np.bincount(labels[held]).tolist() == [2] * 10
    _, of_one, _ = split(dataset__validation_fraction=0.25)
    assert set(of_one.train[0]) | set(of_one.validation[0]) == used
    # split_seed decides which, also where nothing is held out
    _, none, _ = split(dataset__validation_fraction=0.0, dataset__split_seed=1)
    assert (none.train.shape, none.validation.shape) == ((1, 80), (1, 0))
    assert set(none.train[0]) != used


def test_a_split_is_stratified_unless_told_otherwise():
    def counts(**changes):
        checked = config.parse(mlp(dataset__validation_fraction=0.25, **changes))
        workshop = groups.Workshop(checked)
        labels = workshop.dataset(checked.dataset).train_labels
        return np.bincount(labels[workshop.split(checked.dataset).validation[0]], minlength=10)

    assert counts().tolist() == [6] * 10  # of 24 images a class
    assert counts(stratified=False).sum() == 60
    assert len(set(counts(stratified=False))) > 1
    with pytest.raises(UserError, match="stratified=False: nothing reads it, because there is no validation set"):
        config.parse(mlp(dataset__validation_fraction=0.0, stratified=False))


def test_an_accelerator_has_the_forms_that_were_measured_on_it(monkeypatch):
    checked = config.parse(mlp())
    static = groups.Workshop(checked).prepare(arms.arms_of(checked)[0]).static
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert (forms.choose_mode("auto", static), forms.choose_conv("auto", "gpu", "auto")) == (
        "vmap",
        "patches",
    )
    kind = jax.devices()[0].device_kind
    monkeypatch.setitem(forms.ON_ACCELERATORS, kind, ("map", "lax"))
    assert (forms.choose_mode("auto", static), forms.choose_conv("auto", "gpu", "auto")) == ("map", "lax")
    assert (forms.choose_mode("vmap", static), forms.choose_conv("blocked", "gpu", "auto")) == (
        "vmap",
        "blocked",
    )


def test_xla_is_asked_for_a_level_on_a_cpu_unless_someone_asks_for_another(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    assert forms.compiler_options("cpu") == {"xla_backend_optimization_level": 2}
    assert forms.compiler_options("gpu") is None
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert forms.compiler_options("cpu") is None
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr(jax.config, "read", lambda name: True)  # of jax_disable_most_optimizations
    assert forms.compiler_options("cpu") is None


def test_a_population_is_compiled_at_that_level(monkeypatch):
    asked = []
    compiled = jax.stages.Lowered.compile
    monkeypatch.setattr(forms, "compiler_options", lambda platform: {"xla_backend_optimization_level": 1})
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda self, options=None: asked.append(options) or compiled(self, options)
    )
    pop, inputs = build(mlp(model__dense=(7,)), seeds=(0,))
    pop.init(inputs)
    assert asked == [{"xla_backend_optimization_level": 1}]
