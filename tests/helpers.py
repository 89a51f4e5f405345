"""Small experiments for tests: a few drawn images, a tiny network."""

import json

import jax
import numpy as np

from fmnist_jax import config, experiment, population, sharding
from fmnist_jax.population import Inputs, Population


def tiny(**changes):
    """A tiny CNN (batch norm, dropout, augmentation) on drawn images; `changes` are dotted keys with __ for dots."""
    c = config.default()
    c.dataset.name = "synthetic:240"
    c.model.filters = (4,)
    c.model.dense = (8,)
    c.model.dense_dropout = (0.2,)
    c.augment.ops = ("flip", "shift")
    c.train.batch_size = 16
    c.train.duration = "2 epochs"
    c.evaluation.batch_size = 50
    c.seeds = 3
    c.writers.page = c.writers.tensorboard = False
    with c.unlocked():
        for key, value in changes.items():
            c.update_from_flattened_dict({key.replace("__", "."): value})
    return c


def mlp(**changes):
    """The same with the smallest network that trains."""
    return tiny(
        **{
            "model__family": "mlp",
            "model__filters": (32, 64),
            "model__dense": (6,),
            "model__dense_dropout": (),
            **changes,
        }
    )


def images(n: int, seed: int = 0):
    """n random images [n, 28, 28, 1] uint8 of ten classes that a small network tells apart; labels [n] int32."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n).astype(np.int32)
    prototypes = np.random.default_rng(99).integers(0, 256, (10, 28, 28, 1))
    return np.clip(prototypes[labels] * 0.5 + rng.integers(0, 128, (n, 28, 28, 1)), 0, 255).astype(np.uint8), labels


def resolved(c, train_size=192, image_shape=(28, 28, 1)):
    """(static, hyper) of a config."""
    method = "blocked" if c.mesh == 1 else "patches"
    return experiment.resolve(config.parse(c), image_shape, 10, train_size, method)


def build(c, *, seeds=(0, 1, 2), mode="map", devices=1, hypers=None, train_size=192, n=240):
    """A population on random images and its inputs; `hypers` one a run."""
    static, hyper = resolved(c, train_size)
    hypers = hypers or [hyper] * len(seeds)
    pop = Population(static, len(seeds), sharding.slots_for(len(seeds), devices, static.mesh), mode)
    pixels, labels = images(n)
    runs = len(seeds)
    inputs = Inputs(
        seeds=pop.put(np.array(seeds, np.uint32)),
        hyper=pop.put(jax.tree.map(lambda *leaves: np.stack(leaves), *hypers)),
        images=pop.share(pixels),
        labels=pop.share(labels),
        train=pop.put(np.tile(np.arange(train_size, dtype=np.int32), (runs, 1))),
        train_size=pop.put(np.full(runs, train_size, np.int32)),
        validation=pop.put(np.tile(np.arange(train_size, n, dtype=np.int32), (runs, 1))),
        validation_size=pop.put(np.full(runs, n - train_size, np.int32)),
    )
    return pop, inputs


def trained(pop: population.Population, inputs, steps: int, chunk: int = 10**9):
    """The host state after `steps` steps, in chunks of at most `chunk` steps."""
    state, step = pop.init(inputs), 0
    while step < steps:
        n = min(chunk, steps - step, pop.static.steps_per_epoch - step % pop.static.steps_per_epoch)
        state, step = pop.segment(state, inputs, step, n), step + n
    return pop.get(state)


def run_of(state, i: int):
    """Run i of a stacked host state."""
    return jax.tree.map(lambda leaf: leaf[i], state)


def same_bits(a, b) -> bool:
    """Whether two trees hold the same bits (NaN equal to itself)."""
    leaves_a, leaves_b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(leaves_a) == len(leaves_b) and all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(leaves_a, leaves_b, strict=True)
    )


def document_of(main, directory, asked="results"):
    """What makes a document of docs/ of results (name -> JSON) and prose, by its command; where that is `.document`."""

    def make(results, prose, *flags):
        (directory / "results").mkdir(exist_ok=True)
        for name, found in results.items():
            (directory / "results" / f"{name}.json").write_text(json.dumps(found))
        (directory / "why.md").write_text(prose)
        places = [f"--results={directory / asked}", f"--why={directory / 'why.md'}", f"--out={make.document}"]
        return main([*places, *flags])

    make.document = directory / "made.md"
    return make
