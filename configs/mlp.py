"""How accurate is a net of one small hidden layer? Ten units, eight repeats.

Source: Kunze et al. 2019, section 4.1 (batch 32, Adam at 1e-3, 15,000 steps), here with Glorot's initialisation where
    the paper has a truncated normal of deviation 0.5.
Command: python -m fmnist_jax.main --config=configs/mlp.py
Cost: see the table in README.md.
Expect: see the table in README.md.
"""

from fmnist_jax import config as base


def get_config():
    config = base.default()
    config.model.family = "mlp"
    config.model.dense = (10,)
    config.train.batch_size = 32
    config.train.duration = "15000 steps"
    config.train.eval_every = "1500 steps"
    config.seeds = 8
    return config
