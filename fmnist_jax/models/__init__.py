"""Model families: Flax modules called as `module(images, hyper, train=...)`, each built from a static `Spec`."""

from fmnist_jax.models.cnn import CNN
from fmnist_jax.models.mlp import MLP
from fmnist_jax.models.resnet import ResNet18
from fmnist_jax.models.spec import ConvBlock, DenseLayer, Spec, feature_shapes, forward_flops, training_flops

MODELS = {"cnn": CNN, "mlp": MLP, "resnet18": ResNet18}

__all__ = [
    "CNN",
    "MLP",
    "MODELS",
    "ConvBlock",
    "DenseLayer",
    "ResNet18",
    "Spec",
    "feature_shapes",
    "forward_flops",
    "training_flops",
]
