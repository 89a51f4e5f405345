"""How accurate is a small stride-2 CNN on photographs of fruit? Fruits-360, 33 classes, 100x100 RGB.

Source: blagg (2020), "Ethanet": 3 x (conv 4x4 stride 2 same, ReLU, 2x2 max-pool) with F, 2F, 4F filters, dense of
    twice the classes, dropout 0.05; Adam, batch 64, 3 epochs; here F = 24 at a learning rate of 1e-3.
Command: python -m fmnist_jax.main --config=configs/fruits.py
Cost: see the table in README.md.
Expect: see the table in README.md.
"""

from fmnist_jax import config as base


def get_config():
    config = base.default()
    config.dataset.name = "folder:fruits-360"
    config.model.filters = (24, 48, 96)
    config.model.kernel = (4,)
    config.model.stride = (2,)
    config.model.norm = ("none",)
    config.model.dense = (66,)
    config.model.dense_dropout = (0.05,)
    config.train.batch_size = 64
    config.train.duration = "3 epochs"
    config.evaluation.batch_size = 100
    config.seeds = 5
    return config
