"""Layers and dropout as Flax modules and functions that are traceable inside a population of runs."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from fmnist_jax import convolution, init


class Conv(nn.Module):
    """A convolution with bias, and what follows; parameters `kernel` [k, k, C, F] and `bias` [F], drawn by `init`."""

    features: int
    kernel: int
    stride: int
    padding: str | int
    method: str
    kernel_init: str
    bias_init: str
    input_gradient: bool = True
    then: tuple[tuple, ...] = ()  # as of convolution.Stage

    @nn.compact
    def __call__(self, images, hyper):
        """images [B, H, W, C] float32 -> [B, H', W', features]."""
        shape = (self.kernel, self.kernel, images.shape[-1], self.features)
        kernel, bias = _weights(self, shape, hyper)
        how = {"stride": self.stride, "padding": self.padding, "method": self.method}
        more = {"input_gradient": self.input_gradient, "then": self.then}
        return convolution.conv(images, kernel, bias, hyper.leaky_slope, **how, **more)


class Dense(nn.Module):
    """A fully connected layer; parameters `kernel` [F, D] and `bias` [F], drawn by `fmnist_jax.init`.

    The kernel lies as PyTorch's Linear keeps it: with few units, its gradient and the optimizer's passes then run along
    the long axis, which is worth a factor of 2 to 3 in a small MLP on a CPU. Images are columns, so that no product has
    to turn the kernel, which XLA:CPU does in a pass of its own at every step.
    """

    features: int
    kernel_init: str
    bias_init: str

    @nn.compact
    def __call__(self, columns, hyper):
        """Columns [D, B] float32 -> columns [features, B]."""
        kernel, bias = _weights(self, (len(columns), self.features), hyper)
        return kernel @ columns + bias[:, None]


def _weights(layer, shape: Sequence[int], hyper):
    scales = {"scale": hyper.init_scale, "stddev": hyper.init_stddev}
    fan_in = math.prod(shape[:-1])
    draw = functools.partial(init.kernel, layer.kernel_init, shape=tuple(shape), **scales)
    kernel = layer.param("kernel", lambda key: draw(key).T if len(shape) == 2 else draw(key))
    bias = layer.param("bias", lambda key: init.bias(layer.bias_init, key, (shape[-1],), fan_in, **scales))
    return kernel, bias


def dropout(key, inputs, rate):
    """Inverted dropout: a value is 0 with probability `rate` (traced, in [0, 1]), else divided by 1 - rate.

    flax.linen.Dropout branches in Python on its rate, so it cannot be swept inside one program.
    """
    keep = jax.random.uniform(key, inputs.shape) >= rate
    # A product, not a quotient: XLA rounds x / y one way or the other depending on what it fuses with.
    scale = 1 / jnp.maximum(1 - rate, jnp.finfo(inputs.dtype).tiny)
    return jnp.where(keep, inputs * scale, 0)
