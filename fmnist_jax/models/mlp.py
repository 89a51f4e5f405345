"""Fully connected networks, and the dense head every family shares."""

from flax import linen as nn

from fmnist_jax import activations, layers
from fmnist_jax.models.spec import Spec


class DenseHead(nn.Module):
    """Hidden dense layers with activation and dropout, then the logits, with an activation where one is asked for."""

    spec: Spec

    @nn.compact
    def __call__(self, features, hyper, *, train: bool):
        """features [B, D] -> logits [B, classes]; between the two, images are columns."""
        inits = {"kernel_init": self.spec.kernel_init, "bias_init": self.spec.bias_init}
        for i, layer in enumerate(self.spec.dense):
            features = layers.Dense(layer.units, **inits, name=f"dense_{i}")(features.T, hyper).T
            features = activations.ACTIVATIONS[layer.activation](features, hyper.leaky_slope)
            if train and layer.dropout:
                features = layers.dropout(self.make_rng("dropout"), features, hyper.dense_dropout[i])
        self.sow("activities", "features", features)  # for whoever asks, as fmnist_jax.activities does; else nothing
        logits = layers.Dense(self.spec.classes, **inits, name="logits")(features.T, hyper).T
        return activations.ACTIVATIONS[self.spec.logits_activation](logits, hyper.leaky_slope)


class MLP(nn.Module):
    """Flatten, then dense layers."""

    spec: Spec

    @nn.compact
    def __call__(self, images, hyper, *, train: bool):
        """images [B, H, W, C] float32 -> logits [B, classes]."""
        return DenseHead(self.spec, name="head")(images.reshape(len(images), -1), hyper, train=train)
