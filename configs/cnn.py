"""How accurate is the CNN of `alexander` after a short, well-chosen schedule? Four repeats.

Source: Alexander and Oost 2022 (INFOMCV PR4), section 2.2: conv 32, conv 64, dense 128, each block
    conv, ReLU, max-pool, batch norm; 422,026 parameters. The paper trains ten epochs at a constant rate
    (91.6%); here three under a one-cycle schedule.
Command: python -m fmnist_jax.main --config=configs/cnn.py
Cost: see the table in README.md.
Expect: a mean test accuracy of 91.0% or more.
"""

from fmnist_jax import config as base


def get_config():
    config = base.default()
    config.seeds = 4
    config.train.duration = "3 epochs"
    config.train.batch_size = 64
    config.schedule.name = "one_cycle"
    config.optimizer.learning_rate = 3e-3
    return config
