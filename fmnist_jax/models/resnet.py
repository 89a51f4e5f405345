"""ResNet-18 (He et al. 2016) laid out as torchvision.models.resnet18, so that weights pass between the two by name."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from fmnist_jax import convolution, layers
from fmnist_jax.models.spec import RESNET18_BLOCKS, RESNET18_STAGES, Spec

# As torchvision sets them (its momentum of 0.1 is the share of the new). One difference is left: the running variance
# is of the batch as it is, as Flax has it, where PyTorch corrects it by n / (n - 1).
NORM = {"momentum": 0.9, "epsilon": 1e-5}
KERNEL_INIT = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # kaiming_normal_(mode="fan_out")


class ResNet18(nn.Module):
    """Torchvision's layout, initialisation and batch norm; nothing of it but the classes is the config's to choose.

    A module is named as torchvision names it, with "_" for ".": `layer1_0/conv1/kernel` is `layer1.0.conv1.weight`.
    """

    spec: Spec

    @nn.compact
    def __call__(self, images, hyper, *, train: bool):
        """images [B, H, W, C] float32, C 1 (which stands for 3 alike) or 3 -> logits [B, classes]."""
        method, norm = self.spec.conv_method, functools.partial(nn.BatchNorm, use_running_average=not train, **NORM)
        stem = _Conv(RESNET18_STAGES[0][0], 7, 2, method, input_gradient=False, channels=3, name="conv1")(images)
        features = max_pool(jax.nn.relu(norm(name="bn1")(stem)))
        for i, (filters, stride) in enumerate(RESNET18_STAGES, 1):
            for j in range(RESNET18_BLOCKS):
                block = _BasicBlock(filters, 1 if j else stride, method, train, name=f"layer{i}_{j}")
                features = block(features)
        features = features.mean((1, 2))
        self.sow("activities", "features", features)
        return layers.Dense(self.spec.classes, "pytorch", "pytorch", name="fc")(features.T, hyper).T


class _BasicBlock(nn.Module):
    filters: int
    stride: int
    method: str
    train: bool

    @nn.compact
    def __call__(self, inputs):
        norm = functools.partial(nn.BatchNorm, use_running_average=not self.train, **NORM)
        out = _Conv(self.filters, 3, self.stride, self.method, name="conv1")(inputs)
        out = jax.nn.relu(norm(name="bn1")(out))
        out = norm(name="bn2")(_Conv(self.filters, 3, 1, self.method, name="conv2")(out))
        if self.stride != 1 or inputs.shape[-1] != self.filters:
            inputs = _Conv(self.filters, 1, self.stride, self.method, name="downsample_0")(inputs)
            inputs = norm(name="downsample_1")(inputs)
        return jax.nn.relu(out + inputs)


class _Conv(nn.Module):
    """A convolution without bias, padded by half its kernel.

    Of `channels` channels, all alike where the images have but one: their kernels are then summed, which is the same.
    """

    filters: int
    size: int
    stride: int
    method: str
    input_gradient: bool = True
    channels: int = 0  # 0: as many as the images have

    @nn.compact
    def __call__(self, images):
        channels = self.channels or images.shape[-1]
        kernel = self.param("kernel", KERNEL_INIT, (self.size, self.size, channels, self.filters))
        if images.shape[-1] < channels:
            kernel = kernel.sum(2, keepdims=True)
        how = {"stride": self.stride, "padding": self.size // 2, "method": self.method}
        return convolution.conv(images, kernel, **how, input_gradient=self.input_gradient)


def max_pool(images):
    """Largest of each 3 x 3 window, two apart, with one pixel of padding: torchvision's after `conv1`.

    As in PyTorch, its gradient goes to the first largest of a window, and a NaN is larger than any number.
    (`lax.reduce_window` does as much, in five times the time on a CPU.)
    """
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    out_h, out_w = (convolution.conv_size(n, 3, 2, 1) for n in images.shape[1:3])
    views = [padded[:, i : i + 2 * out_h - 1 : 2, j : j + 2 * out_w - 1 : 2] for i in range(3) for j in range(3)]
    return functools.reduce(lambda a, b: jnp.where((a >= b) | jnp.isnan(a), a, b), views)
