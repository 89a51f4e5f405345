"""The networks that are measured, as configs: `--config=benchmarks/workloads.py:cnn` is a study of one of them.

cnn is the `alexander` CNN without batch norm (3x3 convolutions of 32 and 64 features, dense 128); mlp the 784-10-10 of
`kunze`. Batches of 32, Adam, 54,000 images to train on. The tiny ones, on drawn images and without a page, are for
smoke runs.
"""

import ml_collections

from fmnist_jax import config as base

WORKLOADS = {"cnn": {"norm": ("none",)}, "mlp": {"family": "mlp", "dense": (10,)}}
TINY = {"cnn_tiny": {"norm": ("none",), "filters": (4,), "dense": (8,)}, "mlp_tiny": WORKLOADS["mlp"]}


def get_config(workload: str = "cnn") -> ml_collections.ConfigDict:
    """The config of one workload; its seeds and duration are for the benchmark to say."""
    config = base.default()
    config.model.update({**WORKLOADS, **TINY}[workload])
    config.platform = "cpu"
    if workload in TINY:
        config.dataset.name = "synthetic:240"
        config.train.batch_size = 16
        config.evaluation.batch_size = 40
        config.writers.page = config.writers.tensorboard = False
    return config


def checked(workload: str, runs: int = 1, **keys) -> base.Experiment:
    """The config of a workload, with `runs` seeds and dotted keys given as `population__devices=1`."""
    config = get_config(workload)
    config.seeds = runs
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in keys.items()})
    return base.parse(config)
