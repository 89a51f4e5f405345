"""A run of a few seconds with everything that has state: what the kill tests train. Parts: mapped, vmapped."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from helpers import tiny


def get_config(part="mapped"):
    mode = {"mapped": "map", "vmapped": "vmap"}[part]
    config = tiny(population__mode=mode, dataset__name="synthetic:400", train__duration="60 epochs", seeds=2)
    config.train.eval_every = "2 epochs"
    config.optimizer.learning_rate = 1e-2
    config.selection.weights = "best"
    config.selection.patience = 25  # of 30 evaluations: long enough to be killed in, and some runs may stop
    return config
