"""Images that stay on the host and go to the devices in chunks: the same results, in bounded memory."""

import dataclasses
import io

import jax
import numpy as np
import pytest
from helpers import build, images, mlp, resolved, same_bits, tiny, trained
from rich.console import Console

from fmnist_jax import arms, config, data, groups, memory, places, plan, population, programs, session, streaming, study
from fmnist_jax.population import Streamed

STEPS = 18  # crosses an epoch of 12 steps
IMAGE = 28 * 28
STEP = 16 * IMAGE  # bytes of a batch
# Bytes, and on how many devices: on the second, all programs are compiled once more.
BUDGETS = {"a step a chunk": (1, 1), "three steps a chunk": (2 * 3 * STEP, 2), "an epoch a chunk": (10**8, 1)}


def streamed(inputs, budget):
    """The inputs of helpers.build, on the host."""
    pixels, labels = images(240)
    return dataclasses.replace(inputs, images=Streamed(pixels, budget), labels=Streamed(labels, budget))


def evaluated(pop, inputs, state):
    """Sums and predictions of the validation set, on the host."""
    split = inputs.validation, inputs.validation_size
    return [pop.get(part) for part in pop.evaluate(state, inputs.hyper, inputs.images, inputs.labels, *split)]


@pytest.fixture(scope="module", params=["cnn", "mlp"])
def resident(request):
    """(config, state after training, what its validation comes to) of three mapped runs with all images on a device."""
    c = (tiny if request.param == "cnn" else mlp)(evaluation__batch_size=7)  # 48 images: 7 batches, the last of 6
    pop, inputs = build(c)
    state = trained(pop, inputs, STEPS)
    return c, state, evaluated(pop, inputs, pop.put(state))


@pytest.mark.parametrize(("budget", "devices"), BUDGETS.values(), ids=BUDGETS)
def test_mapped_runs_have_the_same_bits_whatever_the_chunks(resident, budget, devices):
    """And on two devices, where they were on one."""
    c, state, validated = resident
    pop, inputs = build(c, devices=devices)
    inputs = streamed(inputs, budget)
    assert same_bits(trained(pop, inputs, STEPS, chunk=5), state)  # 5: segments that end inside an epoch and a chunk
    assert same_bits(evaluated(pop, inputs, pop.put(state)), validated)


@pytest.mark.parametrize("batch_size", [48, 500])
def test_one_evaluation_batch_has_the_same_bits(batch_size):
    pop, inputs = build(tiny(evaluation__batch_size=batch_size))
    state = pop.init(inputs)
    assert same_bits(evaluated(pop, streamed(inputs, 1), state), evaluated(pop, inputs, state))


def test_folds_of_their_own_are_streamed_apart():
    """Runs of two folds, of 48 and 47 images; two runs share a fold, and its blocks."""
    pop, inputs = build(tiny(evaluation__batch_size=20), seeds=(0, 1, 2))
    rows = np.stack([np.arange(192, 240), np.arange(48), np.arange(192, 240)]).astype(np.int32)
    inputs = dataclasses.replace(
        inputs, validation=pop.put(rows), validation_size=pop.put(np.array([48, 47, 48], np.int32))
    )
    state = pop.init(inputs)
    sums, predictions = evaluated(pop, streamed(inputs, 1), state)
    assert same_bits([sums, predictions], evaluated(pop, inputs, state))
    assert sums.count.tolist() == [48, 47, 48]


@pytest.mark.parametrize(("make", "budget"), [(tiny, 6 * 3 * STEP), (mlp, 1)])
def test_vmapped_runs_are_within_round_off(make, budget):
    """One step of SGD is the gradient itself, as in law 1; folds of their own, so that the images are batched too."""
    plain = {"augment__ops": (), "model__dense_dropout": ()}
    c = make(**plain, optimizer__name="sgd", optimizer__learning_rate=1.0, evaluation__batch_size=20)
    pop, inputs = build(c, mode="vmap")
    rows = np.stack([np.arange(192, 240), np.arange(48), np.arange(10, 58)]).astype(np.int32)
    inputs = dataclasses.replace(inputs, validation=pop.put(rows))
    state = pop.segment(pop.init(inputs), inputs, 0, 1)
    host, other = streamed(inputs, budget), pop.segment(pop.init(inputs), streamed(inputs, budget), 0, 1)
    for a, b in zip(jax.tree.leaves(pop.get(other).params), jax.tree.leaves(pop.get(state).params), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()
    ours, theirs = evaluated(pop, host, state), evaluated(pop, inputs, state)
    np.testing.assert_allclose(ours[0].loss, theirs[0].loss, rtol=1e-5)
    assert np.mean(ours[1] == theirs[1]) > 0.98


def test_no_more_than_two_chunks_of_a_device_are_under_way(monkeypatch):
    """A chunk is gathered when the one before the last has been worked on, and takes no more than half the budget."""
    sent, waited = [], []

    class Reader:
        """What has been computed of a chunk."""

        def __init__(self, number):
            self.number = number

    monkeypatch.setattr(jax, "block_until_ready", lambda tree: waited.append(getattr(tree, "number", None)))
    feed = streaming.Feed(jax.devices()[0])
    pixels, labels = images(240)
    rows = Streamed(pixels, 2 * 3 * STEP).rows_in()
    assert rows == 48
    for number in range(6):
        chunk, named = feed.send(pixels, labels, np.arange(number, number + 40), (rows,))
        assert chunk.nbytes == 3 * STEP
        assert np.array_equal(chunk[:40], pixels[number : number + 40])
        assert named.tolist() == labels[number : number + 40].tolist() + [0] * 8
        sent.append(chunk)
        feed.read_by(Reader(number))
    assert waited == [None, None, 0, 1, 2, 3]


def test_a_chunk_is_not_written_over_while_it_is_read():
    """Many chunks of different images through two buffers, whose sums say what the device saw."""
    pixels = np.arange(64, dtype=np.uint8)[:, None].repeat(10**5, axis=1)
    feed, seen = streaming.Feed(jax.devices()[0]), []
    total = jax.jit(lambda chunk: chunk.astype("int32").sum(1))
    for i in range(64):
        chunk, _ = feed.send(pixels, np.zeros(64, np.int32), np.array([i, 63 - i]), (2,))
        seen.append(total(chunk))
        feed.read_by(seen[-1])
    assert [s.tolist() for s in seen] == [[i * 10**5, (63 - i) * 10**5] for i in range(64)]


def go(c, directory, **options):
    """What the terminal showed."""
    shown = io.StringIO()
    study.run(config.parse(c), directory, Console(file=shown, width=200), **options)
    return shown.getvalue()


FILES = ("metrics.jsonl", "done.json", "test.json", "predictions.npz")


def contents(directory):
    """The results of a study as bytes; of its predictions, those."""
    group = directory / "groups/0"
    with np.load(group / "predictions.npz") as file:
        arrays = {name: file[name].tobytes() for name in file}
    return {name: (group / name).read_bytes() for name in FILES[:3]} | arrays


def two_folds(**changes):
    """Two seeds of two folds of 120 images: 7 steps an epoch; three batches in validation, the last of 20."""
    c = {
        "folds": 2,
        "seeds": 2,
        "augment__ops": (),
        "train__eval_every": "5 steps",
        "population__mode": "map",
        "population__devices": 1,
    }
    return tiny(**c, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study with its images on the devices."""
    directory = tmp_path_factory.mktemp("streaming") / "whole"
    go(two_folds(), directory)
    return directory


def test_a_streamed_study_has_the_same_rows_results_and_predictions(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CHUNKS", 2 * 3 * STEP)
    monkeypatch.setattr(population.Population, "share", lambda *_: pytest.fail("the images went to the device"))
    go(two_folds(population__stream="always"), tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_a_study_goes_on_streamed_from_where_it_was_not(whole, tmp_path, monkeypatch):
    """Stopped at step 5 of an epoch of 7."""
    real = session._Session._read_pending

    def stop(self, last=False):
        real(self, last)
        if self.segments == 1:
            self.checkpoints.wait()
            raise session.Interrupted(2, 5)

    monkeypatch.setattr(session._Session, "_read_pending", stop)
    with pytest.raises(session.Interrupted):
        go(two_folds(population__stream="never"), tmp_path)
    monkeypatch.undo()
    assert places.there(tmp_path)[0].step == 5
    go(two_folds(population__stream="always"), tmp_path)
    assert contents(tmp_path) == contents(whole)


class Enough(Exception):
    """Where a test ends that asks what is said before."""


def test_auto_streams_what_takes_more_than_half_of_the_memory_and_says_so(tmp_path, monkeypatch):
    size = 300 * IMAGE  # training and test images, once for both devices
    for room, lines in ((2 * size + 100, []), (2 * size - 100, ["images are streamed"])):
        c = mlp(population__memory_gb=room / 1e9)
        workshop = groups.Workshop(config.parse(c))
        said = workshop.streamed([workshop.checked.dataset])
        assert [line[:19] for line in said] == lines
        assert programs.residence(data.load("synthetic:240"), workshop.checked).bytes == size
    wanted = "images are streamed: 0.00024 GB would not fit into 0.00024 GB"
    monkeypatch.setattr(plan, "estimate", _enough)
    monkeypatch.setattr(study._Study, "_train_all", _enough)
    for tell in (plan.show, study.run):
        shown = io.StringIO()
        with pytest.raises(Enough):
            tell(config.parse(c), tmp_path / "w", Console(file=shown, width=200))
        assert shown.getvalue().splitlines().count(wanted) == 1
    never = mlp(population__memory_gb=room / 1e9, population__stream="never")
    assert not groups.Workshop(config.parse(never)).streamed([config.parse(never).dataset])


def _enough(*_):
    raise Enough


def test_devices_of_one_memory_read_one_copy_which_nobody_else_can_change():
    static, _ = resolved(mlp())
    pixels, _ = images(8)
    kept = pixels.copy()
    shared = population.Population(static, 2, jax.devices()[:2], "map").share(pixels)
    pixels[:] = 0
    first, second = (shared.copies[device] for device in jax.devices()[:2])
    assert first.unsafe_buffer_pointer() == second.unsafe_buffer_pointer()
    assert np.array_equal(first, kept)


def test_chunks_of_a_streamed_group_are_taken_off_its_memory():
    static, hyper = resolved(mlp())
    limit = 10 * 10**9
    fits, streams = (memory.Images(size, 2, limit, "auto") for size in (limit // 2, limit // 2 + 1))
    assert (fits.streamed, fits.left) == (False, limit)
    assert (streams.streamed, streams.left) == (True, limit - 2 * 64 * 10**6)
    assert memory.Images(10**12, 2, 10**6, "auto").left == 875_000  # chunks shrink where there is little
    fewer, more = (memory.most_runs(static, hyper, "vmap", 2, place.left) for place in (streams, fits))
    assert 0 < fewer < more


def test_no_more_than_the_chunks_are_read_of_a_map(tmp_path, monkeypatch):
    """Nothing makes an array of the whole map: of its images those are touched that a step asks for."""
    np.save(tmp_path / "images.npy", images(240)[0])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    dataset = dataclasses.replace(data.load("synthetic:240"), train_images=mapped)
    checked = config.parse(mlp(population__stream="always", seeds=1))
    workshop = groups.Workshop(checked, lambda *_, **__: dataset)
    ((made, runs),) = groups.divide(workshop, arms.arms_of(checked))
    group = workshop.group("0", made, runs)
    gathered, real = [], streaming.Feed.send
    monkeypatch.setattr(streaming.Feed, "send", lambda self, *args: gathered.append(args[2].shape) or real(self, *args))
    pop = programs.population_of(group.static, 1, checked)
    inputs = programs.inputs_of(pop, group, dataset, programs.images_of(pop, dataset, checked))
    assert isinstance(inputs.images.array, np.memmap)
    pop.segment(pop.init(inputs), inputs, 3, 2)
    assert gathered == [(1, 32)]  # two batches of the one run
