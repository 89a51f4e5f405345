"""Convolution, pooling, dropout and activations that stay fast and traceable inside a population of runs.

XLA:CPU does not optimise `lax.conv` inside a loop, and `vmap` over weights turns it into a grouped convolution that is
slower still (jax#12868, #26568). Here a convolution is patches (slices and a concatenate) and one matrix product, and a
pooling is a reduction over strided views: both keep their speed inside `lax.map` and `lax.scan`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from fmnist_jax import init


def pads(size: int, kernel: int, stride: int, padding: str | int) -> tuple[int, int]:
    """(before, after) zeros on one axis: "same" as TensorFlow pads, "valid", or a number on both sides as PyTorch."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2
    return int(padding), int(padding)


def conv_size(size: int, kernel: int, stride: int, padding: str | int) -> int:
    """Length of one axis after a convolution; below 1 where the kernel does not fit."""
    return (size + sum(pads(size, kernel, stride, padding)) - kernel) // stride + 1


def patches(images, kernel: int, stride: int, padding: str | int):
    """Every kernel-sized window: images [B, H, W, C] -> [B, H', W', kernel * kernel * C], rows before columns."""
    _, height, width, _ = images.shape
    rows, columns = pads(height, kernel, stride, padding), pads(width, kernel, stride, padding)
    padded = jnp.pad(images, ((0, 0), rows, columns, (0, 0)))
    out_h, out_w = conv_size(height, kernel, stride, padding), conv_size(width, kernel, stride, padding)
    windows = [
        padded[:, i : i + (out_h - 1) * stride + 1 : stride, j : j + (out_w - 1) * stride + 1 : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]
    return jnp.concatenate(windows, axis=-1)


def conv(images, kernel, *, stride: int, padding: str | int, method: str):
    """Cross-correlation of images [B, H, W, C] with kernel [k, k, C, F] -> [B, H', W', F].

    method "patches" is one matrix product; "lax" is XLA's own convolution.
    """
    size, _, _, features = kernel.shape
    if method == "patches":
        return patches(images, size, stride, padding) @ kernel.reshape(-1, features)
    space = [pads(n, size, stride, padding) for n in images.shape[1:3]]
    return lax.conv_general_dilated(images, kernel, (stride, stride), space, dimension_numbers=("NHWC", "HWIO", "NHWC"))


class Conv(nn.Module):
    """A convolution with bias; parameters `kernel` [k, k, C, F] and `bias` [F], drawn by `fmnist_jax.init`."""

    features: int
    kernel: int
    stride: int
    padding: str | int
    method: str
    kernel_init: str
    bias_init: str

    @nn.compact
    def __call__(self, images, hyper):
        """images [B, H, W, C] float32 -> [B, H', W', features]."""
        shape = (self.kernel, self.kernel, images.shape[-1], self.features)
        kernel, bias = _weights(self, shape, hyper)
        return conv(images, kernel, stride=self.stride, padding=self.padding, method=self.method) + bias


class Dense(nn.Module):
    """A fully connected layer; parameters `kernel` [D, F] and `bias` [F], drawn by `fmnist_jax.init`."""

    features: int
    kernel_init: str
    bias_init: str

    @nn.compact
    def __call__(self, inputs, hyper):
        """inputs [B, D] float32 -> [B, features]."""
        kernel, bias = _weights(self, (inputs.shape[-1], self.features), hyper)
        return inputs @ kernel + bias


def _weights(layer, shape: Sequence[int], hyper):
    scales = {"scale": hyper.init_scale, "stddev": hyper.init_stddev}
    fan_in = 1
    for n in shape[:-1]:
        fan_in *= n
    kernel = layer.param("kernel", lambda key: init.kernel(layer.kernel_init, key, tuple(shape), **scales))
    bias = layer.param("bias", lambda key: init.bias(layer.bias_init, key, (shape[-1],), fan_in, **scales))
    return kernel, bias


def _windows(images, size: int):
    """The strided views whose element-wise reduction is a pooling; a ragged edge is cut, as Keras and PyTorch do."""
    _, height, width, _ = images.shape
    out_h, out_w = height // size * size, width // size * size
    return [images[:, i:out_h:size, j:out_w:size] for i in range(size) for j in range(size)]


def max_pool(images, size: int):
    """Largest of each size x size window: [B, H, W, C] -> [B, H // size, W // size, C]."""
    batch, height, width, channels = images.shape
    cut = images[:, : height // size * size, : width // size * size]
    return cut.reshape(batch, height // size, size, width // size, size, channels).max(axis=(2, 4))


def average_pool(images, size: int):
    """Mean of each size x size window: [B, H, W, C] -> [B, H // size, W // size, C]."""
    return sum(_windows(images, size)) / (size * size)


def soft_pool(images, size: int):
    """Softmax-weighted sum of each window (Stergiou et al. 2021, SoftPool, formulas 1-3).

    w_i = exp(a_i) / sum_j exp(a_j); the output is sum_i w_i a_i. jax.nn.softmax keeps it from overflowing.
    """
    stacked = jnp.stack(_windows(images, size))
    return jnp.sum(jax.nn.softmax(stacked, axis=0) * stacked, axis=0)


POOLINGS = {"max": max_pool, "average": average_pool, "soft": soft_pool, "none": lambda images, size: images}


ACTIVATIONS = {
    "relu": lambda x, slope: jax.nn.relu(x),
    "leaky_relu": lambda x, slope: jnp.where(x < 0, slope * x, x),
    # `alexander` prints -alpha * x for x < 0; the sign is a slip, offered as printed.
    "leaky_relu_as_printed": lambda x, slope: jnp.where(x < 0, -slope * x, x),
    "tanh": lambda x, slope: jnp.tanh(x),
    "sigmoid": lambda x, slope: jax.nn.sigmoid(x),
    "softmax": lambda x, slope: jax.nn.softmax(x, axis=-1),
    "gelu": lambda x, slope: jax.nn.gelu(x, approximate=False),
    "silu": lambda x, slope: jax.nn.silu(x),
    "none": lambda x, slope: x,
}


def dropout(key, inputs, rate):
    """Inverted dropout: a value is 0 with probability `rate` (traced, in [0, 1]), else divided by 1 - rate.

    flax.linen.Dropout branches in Python on its rate, so it cannot be swept inside one program.
    """
    keep = jax.random.uniform(key, inputs.shape) >= rate
    # A product, not a quotient: XLA rounds x / y one way or the other depending on what it fuses with.
    scale = 1 / jnp.maximum(1 - rate, jnp.finfo(inputs.dtype).tiny)
    return jnp.where(keep, inputs * scale, 0)
