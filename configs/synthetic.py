"""Does everything work on this machine, with neither network nor files? A minute on drawn garments.

Source: none; the images are drawn by fmnist_jax.data.synthetic, and every output of the run says so.
Command: python -m fmnist_jax.main --config=configs/synthetic.py
Cost: see the table in README.md.
Expect: see the table in README.md.
"""

from fmnist_jax import config as base


def get_config():
    config = base.default()
    config.dataset.name = "synthetic"
    config.model.filters = (8, 16)
    config.model.dense = (32,)
    config.model.norm_momentum = 0.9  # 280 steps are too few for Keras's 0.99
    config.train.duration = "5 epochs"
    config.seeds = 4
    return config
