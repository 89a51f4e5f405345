"""Which of four small networks is the best on Fashion-MNIST? One of them a part: `configs/report234591.py:two_conv`.

Source: report 234591, "Model Architecture", Figure 6 (SGD with momentum 0.9, 10 epochs, batch 128, inputs normalised
    with mean 0.5 and standard deviation 0.5; PyTorch's default initialisation; learning rate not stated, 0.001 fits).
    The text names no activation after a convolution; ReLU is taken. Its three-conv net names one pooling but states an
    input of 128*7*7 to the last layer, which needs two: `three_conv` is the first, `three_conv_two_pools` the second.
Command: python -m fmnist_jax.main --config=configs/report234591.py:three_dense
Cost: see the table in README.md.
Expect: the report prints 88.87% (two_conv), 86.90% (one_conv), 83.73% (three_dense), 86.09% (three_conv).
"""

from fmnist_jax import config as base
from fmnist_jax.errors import UserError

NETS = {
    "two_conv": {"filters": (32, 64), "pool": ("none", "max"), "dense": (128,)},
    "one_conv": {"filters": (32,), "dense": (64, 128)},
    "three_dense": {"family": "mlp", "dense": (64, 128, 256)},
    "three_conv": {"filters": (32, 64, 128), "pool": ("none", "none", "max"), "dense": ()},
    "three_conv_two_pools": {"filters": (32, 64, 128), "pool": ("none", "max", "max"), "dense": ()},
}
PARTS = tuple(NETS)


def get_config(part="two_conv"):
    if part not in NETS:
        raise UserError(f"configs/report234591.py:{part}: no such part; there are {', '.join(NETS)}")
    config = base.default()
    config.model.update(NETS[part])
    if config.model.family == "cnn":
        config.model.norm = ("none",)
    config.model.kernel_init = config.model.bias_init = "pytorch"
    config.dataset.mean = config.dataset.std = 0.5
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.momentum = 0.9
    config.train.batch_size = 128
    config.train.duration = "10 epochs"
    config.seeds = 5
    return config
