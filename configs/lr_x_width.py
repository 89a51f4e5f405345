"""Does the best learning rate of a small net depend on its width? Learning rate (5) x hidden units (3) x 3 seeds.

Source: Kunze et al. 2019, section 4.1, which takes 1e-3 for up to 50 hidden units and 1e-4 for more (claim K3: 800
    units at 1e-3 "crash"); here with Glorot's initialisation and five epochs.
Command: python -m fmnist_jax.main --config=configs/lr_x_width.py
Cost: see the table in README.md.
Expect: see the table in README.md.
"""

from fmnist_jax import claims, sweep
from fmnist_jax import config as base


def get_config():
    config = base.default()
    config.question = "Does the best learning rate of a small net depend on its width?"
    config.model.family = "mlp"
    config.train.batch_size = 32
    config.train.duration = "5 epochs"
    config.train.eval_every = "0.5 epochs"
    config.seeds = 3
    config.sweep = sweep.product(
        {
            "optimizer.learning_rate": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
            "model.dense": ((10,), (50,), (200,)),
        }
    )
    config.claims = (
        claims.about(
            "K1",
            0.65,
            within=0.05,
            where={"dense": 10, "learning_rate": 1e-3},
            quote="with 5 and 10 hidden units the accuracy reaches about 65%",
            source="Kunze et al., section 4.1, Figure 6",
            paper="about 65%",
        ),
        claims.decreases_with(
            "K2",
            "dense",
            where={"learning_rate": 1e-3},
            quote="more than 20 hidden units are significantly worse",
            source="Kunze et al., section 4.1, Figure 8",
            paper="worse from 20 units on",
        ),
        claims.greater(
            "K3",
            {"learning_rate": 1e-4},
            {"learning_rate": 1e-3},
            where={"dense": 200},
            quote="a learning rate of 1e-4 for more than 50 hidden units, because 1e-3 crashes",
            source="Kunze et al., section 4.1",
            paper="1e-3 crashes at 800 units",
        ),
        claims.interacts(
            "the question",
            ["learning_rate", "dense"],
            quote="the best learning rate depends on the width",
            source="this config",
        ),
    )
    return config
