"""One ConvNet family that covers the five studies by its fields."""

import jax.numpy as jnp
from flax import linen as nn

from fmnist_jax import activations, convolution, layers, whitening
from fmnist_jax.models.mlp import DenseHead
from fmnist_jax.models.spec import ConvBlock, Spec

NORM = ("norm",)


def _parts(spec: Spec, block: ConvBlock) -> tuple[tuple[tuple, ...], tuple[tuple, ...]]:
    """What follows a block's convolution at once, and what waits for the whole batch: batch norm and all after it."""
    made = {
        "activation": ("activation", block.activation),
        "pool": ("pool", block.pool, block.pool_size),
        "norm": NORM,
    }
    parts = [made[name] for name in spec.order if getattr(block, name) != "none"]
    until = parts.index(NORM) if NORM in parts else len(parts)
    at_once, later = parts[:until], parts[until:]
    if [part[:2] for part in at_once] == [("activation", "relu"), ("pool", "max")]:
        at_once.reverse()  # the same values and gradients, with a fourth of the ReLUs
    return tuple(at_once), tuple(later)


class CNN(nn.Module):
    """Convolution blocks, then dense layers.

    Batch-norm statistics are in the collection `batch_stats`, and there too, for no gradient and no decay to reach
    them, the filters of a whitening layer. They are drawn as zeros; `fmnist_jax.whitening` has the images.
    """

    spec: Spec

    @nn.compact
    def __call__(self, images, hyper, *, train: bool):
        """images [B, H, W, C] float32 -> logits [B, classes]."""
        features = self._whitened(images, hyper) if self.spec.whiten else images
        for i, block in enumerate(self.spec.blocks):
            at_once, later = _parts(self.spec, block)
            features = layers.Conv(
                block.filters,
                block.kernel,
                block.stride,
                block.padding,
                self.spec.conv_method,
                self.spec.kernel_init,
                self.spec.bias_init,
                input_gradient=i > 0,
                then=at_once,
                name=f"conv_{i}",
            )(features, hyper)
            for part in later:
                if part != NORM:
                    features = convolution.apply(part, features, hyper.leaky_slope)
                else:
                    features = nn.BatchNorm(
                        use_running_average=not train,
                        momentum=hyper.norm_momentum,
                        epsilon=hyper.norm_epsilon,
                        name=f"norm_{i}",
                    )(features)
            if train and block.dropout:
                features = layers.dropout(self.make_rng("dropout"), features, hyper.dropout[i])
            if i == 0 and self.spec.bridge:
                features = self._bridged(features, hyper)
        return DenseHead(self.spec, name="head")(features.reshape(len(features), -1), hyper, train=train)

    def _whitened(self, images, hyper):
        """[B, H, W, C] -> [B, H, W, 2 * whiten ** 2 * C], with the activation of the first block."""
        size, channels = self.spec.whiten, images.shape[-1]
        shape = (size, size, channels, whitening.channels(size, channels))
        filters = self.variable("batch_stats", "whiten", jnp.zeros, shape).value
        then = (("activation", self.spec.blocks[0].activation),)
        how = {"stride": 1, "padding": "same", "method": self.spec.conv_method, "input_gradient": False, "then": then}
        return convolution.conv(images, filters, None, hyper.leaky_slope, **how)

    def _bridged(self, features, hyper):
        """[B, H, W, C] -> [B, H, W, bridge] through one dense layer of H * W * bridge units."""
        batch, height, width, _ = features.shape
        units, spec = height * width * self.spec.bridge, self.spec
        dense = layers.Dense(units, spec.kernel_init, spec.bias_init, name="bridge")
        out = activations.ACTIVATIONS[spec.blocks[0].activation](
            dense(features.reshape(batch, -1).T, hyper).T, hyper.leaky_slope
        )
        return out.reshape(batch, height, width, spec.bridge)
