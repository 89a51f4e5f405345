"""A config whose own code fails: a string where a number belongs."""

from fmnist_jax import config as base


def get_config():
    config = base.default()
    config.seeds = "3"
    return config
