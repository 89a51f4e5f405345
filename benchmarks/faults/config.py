"""Studies of a few seconds with everything that has state, on drawn images: what the faults are made in.

Parts: mapped; vmapped; streamed: vmapped, its images read as they are needed; mesh: each batch over two devices; page:
mapped, with page, tables and TensorBoard; wide, huge: mapped, of a few steps, with an arm whose four runs take 0.6 and
3 GB to hold, and several times that to train.
"""

from fmnist_jax import config as base
from fmnist_jax import sweep


def get_config(part="mapped"):
    config = base.default()
    config.dataset.name = "synthetic:400"
    config.model.filters = (4,)
    config.model.dense = (8,)
    config.model.dense_dropout = (0.2,)
    config.augment.ops = ("flip", "shift")
    config.train.batch_size = 16
    config.train.duration = "60 epochs"
    config.train.eval_every = "2 epochs"
    config.evaluation.batch_size = 50
    config.optimizer.learning_rate = 1e-2
    config.selection.weights = "best"
    config.selection.patience = 25  # of 30 evaluations: long enough to be killed in, and some runs may stop
    config.population.mode = "vmap" if part in ("vmapped", "streamed") else "map"
    config.population.stream = "always" if part == "streamed" else "never"
    config.mesh = 2 if part == "mesh" else 1
    config.seeds = 2
    config.writers.page = config.writers.tensorboard = part == "page"
    config.platform = "cpu"
    if part in ("wide", "huge"):
        config.sweep = sweep.product({"model.dense": ((8,), ({"wide": 12_000, "huge": 60_000}[part],))})
        config.train.duration = config.train.eval_every = "4 steps"
        config.seeds = 4
        config.evaluation.test, config.metric = "none", "validation_accuracy"
        config.population.memory_gb = 1000.0  # whatever the machine has, no group is cut beforehand
    return config
