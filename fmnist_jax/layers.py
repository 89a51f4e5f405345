"""Convolution, pooling, dropout and activations that stay fast and traceable inside a population of runs.

XLA:CPU does not optimise `lax.conv` inside a loop, and `vmap` over weights turns it into a grouped convolution that is
slower still (jax#12868, #26568). Here a convolution is patches (slices and a concatenate) and one matrix product, on a
CPU over blocks of images whose patches stay in the cache; the gradient rebuilds them instead of reading them back.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from fmnist_jax import init

# Patches of a block of images: about one core's L2. Measured with benchmarks/throughput.py on two cores of 1 MiB each.
BLOCK_BYTES = 2**20
CONV_METHODS = ("blocked", "patches", "lax")

Pads = tuple[tuple[int, int], tuple[int, int]]  # zeros (above, below), (left, right)


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


def patches(images, kernel: int, stride: int, space: Pads):
    """Every kernel-sized window: images [B, H, W, C] -> [B, H', W', kernel * kernel * C], rows before columns."""
    padded = jnp.pad(images, ((0, 0), *space, (0, 0)))
    out_h, out_w = ((n - kernel) // stride + 1 for n in padded.shape[1:3])
    windows = [
        padded[:, i : i + (out_h - 1) * stride + 1 : stride, j : j + (out_w - 1) * stride + 1 : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]
    return jnp.concatenate(windows, axis=-1)


def conv(images, kernel, *, stride: int, padding: str | int, method: str, input_gradient: bool = True):
    """Cross-correlation of images [B, H, W, C] with kernel [k, k, C, F] -> [B, H', W', F].

    method: "patches" is one matrix product; "blocked" is one a block of images, for a CPU's cache; "lax" is XLA's own.
    input_gradient: False where nobody asks for the gradient by images, so that "blocked" does not compute it.
    """
    size = kernel.shape[0]
    space = tuple(pads(n, size, stride, padding) for n in images.shape[1:3])
    if method == "patches":
        return _product(images, kernel, stride, space)
    if method == "blocked":
        return _blocked(images, kernel, stride, space, input_gradient)
    return lax.conv_general_dilated(images, kernel, (stride, stride), space, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _product(images, kernel, stride: int, space: Pads):
    return patches(images, kernel.shape[0], stride, space) @ kernel.reshape(-1, kernel.shape[3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _blocked(images, kernel, stride: int, space: Pads, input_gradient: bool):
    out = lax.map(lambda block: _product(block, kernel, stride, space), _in_blocks(images, kernel, stride, images))
    return out.reshape(-1, *out.shape[2:])


def _blocked_forward(images, kernel, stride, space, input_gradient):
    return _blocked(images, kernel, stride, space, input_gradient), (images, kernel)


def _blocked_backward(stride, space, input_gradient, kept, grads):
    images, kernel = kept
    size, _, channels, features = kernel.shape

    def by_images(block, block_grads):
        if not input_gradient:
            return jnp.zeros_like(block)
        if stride == 1 and all(n < size for side in space for n in side):
            # The transpose of a convolution of stride 1 is the convolution with the kernel turned round.
            turned = kernel[::-1, ::-1].swapaxes(2, 3)
            opposite = tuple((size - 1 - before, size - 1 - after) for before, after in space)
            return _product(block_grads, turned, 1, opposite)
        return jax.vjp(lambda block: _product(block, kernel, stride, space), block)[1](block_grads)[0]

    def body(by_kernel, xs):
        block, block_grads = xs
        by_kernel += jnp.einsum("bhwk,bhwf->kf", patches(block, size, stride, space), block_grads)
        return by_kernel, by_images(block, block_grads)

    blocks = tuple(_in_blocks(array, kernel, stride, images) for array in (images, grads))
    by_kernel, d_images = lax.scan(body, jnp.zeros((size * size * channels, features), kernel.dtype), blocks)
    return d_images.reshape(images.shape), by_kernel.reshape(kernel.shape)


_blocked.defvjp(_blocked_forward, _blocked_backward)


def _in_blocks(array, kernel, stride: int, images):
    """[B, ...] -> [B / n, n, ...], n the largest divisor of B with at most BLOCK_BYTES of patches of `images`, or 1."""
    batch, height, width, _ = images.shape
    of_one = math.ceil(height / stride) * math.ceil(width / stride) * kernel[..., 0].size * kernel.dtype.itemsize
    n = max((n for n in range(1, batch + 1) if batch % n == 0 and n * of_one <= BLOCK_BYTES), default=1)
    return array.reshape(batch // n, n, *array.shape[1:])


class Conv(nn.Module):
    """A convolution with bias; parameters `kernel` [k, k, C, F] and `bias` [F], drawn by `fmnist_jax.init`."""

    features: int
    kernel: int
    stride: int
    padding: str | int
    method: str
    kernel_init: str
    bias_init: str
    input_gradient: bool = True

    @nn.compact
    def __call__(self, images, hyper):
        """images [B, H, W, C] float32 -> [B, H', W', features]."""
        shape = (self.kernel, self.kernel, images.shape[-1], self.features)
        kernel, bias = _weights(self, shape, hyper)
        how = {"stride": self.stride, "padding": self.padding, "method": self.method}
        return conv(images, kernel, **how, input_gradient=self.input_gradient) + bias


class Dense(nn.Module):
    """A fully connected layer; parameters `kernel` [F, D] and `bias` [F], drawn by `fmnist_jax.init`.

    The kernel lies as PyTorch's Linear keeps it: with few units, its gradient and the optimizer's passes then run along
    the long axis, which is worth a factor of 2 to 3 in a small MLP on a CPU.
    """

    features: int
    kernel_init: str
    bias_init: str

    @nn.compact
    def __call__(self, inputs, hyper):
        """inputs [B, D] float32 -> [B, features]."""
        kernel, bias = _weights(self, (inputs.shape[-1], self.features), hyper)
        return inputs @ kernel.T + bias


def _weights(layer, shape: Sequence[int], hyper):
    scales = {"scale": hyper.init_scale, "stddev": hyper.init_stddev}
    fan_in = math.prod(shape[:-1])
    draw = functools.partial(init.kernel, layer.kernel_init, shape=tuple(shape), **scales)
    kernel = layer.param("kernel", lambda key: draw(key).T if len(shape) == 2 else draw(key))
    bias = layer.param("bias", lambda key: init.bias(layer.bias_init, key, (shape[-1],), fan_in, **scales))
    return kernel, bias


def _windows(images, size: int):
    """The strided views whose element-wise reduction is a pooling; a ragged edge is cut, as Keras and PyTorch do."""
    _, height, width, _ = images.shape
    out_h, out_w = height // size * size, width // size * size
    return [images[:, i:out_h:size, j:out_w:size] for i in range(size) for j in range(size)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(images, size: int):
    """Largest of each size x size window: [B, H, W, C] -> [B, H // size, W // size, C].

    Its gradient goes to the first largest of a window, as in PyTorch; JAX's own would share it among equals, which
    costs two more passes over the images.
    """
    return functools.reduce(jnp.maximum, _windows(images, size))


def _place_type(size: int):
    return jnp.int8 if size * size <= 127 else jnp.int32


def _max_pool_forward(images, size):
    views, largest = _windows(images, size), max_pool(images, size)
    where = jnp.full(largest.shape, len(views) - 1, _place_type(size))
    for i in reversed(range(len(views) - 1)):
        where = jnp.where(views[i] == largest, where.dtype.type(i), where)
    return largest, (where, images.shape)


def _max_pool_backward(size, kept, grads):
    where, shape = kept
    place = jnp.arange(size * size, dtype=where.dtype).reshape(1, 1, size, 1, size, 1)
    spread = jnp.where(_to_windows(where) == place, _to_windows(grads), 0)
    return (_from_windows(spread, shape),)


def _to_windows(pooled):
    """[B, H', W', C] -> [B, H', 1, W', 1, C], to meet each place of its window."""
    return pooled[:, :, None, :, None]


def _from_windows(values, shape: tuple):
    """[B, H', size, W', size, C] -> images of `shape`, 0 on the ragged edge that no window has."""
    batch, out_h, size, out_w, _, channels = values.shape
    images = values.reshape(batch, out_h * size, out_w * size, channels)
    return jnp.pad(images, ((0, 0), (0, shape[1] - out_h * size), (0, shape[2] - out_w * size), (0, 0)))


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def average_pool(images, size: int):
    """Mean of each size x size window: [B, H, W, C] -> [B, H // size, W // size, C]."""
    return sum(_windows(images, size)) / (size * size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def soft_pool(images, size: int):
    """Softmax-weighted sum of each window (Stergiou et al. 2021, SoftPool, formulas 1-3).

    w_i = exp(a_i) / sum_j exp(a_j); the output is y = sum_i w_i a_i. Its gradient by a_i is w_i (1 + a_i - y), computed
    at once for all places of a window: JAX's own, through strided views, makes a whole net four times slower.
    """
    return _soft_pool_forward(images, size)[0]


def _soft_pool_forward(images, size):
    views = _windows(images, size)
    largest = functools.reduce(jnp.maximum, views)  # less it, no power overflows
    powers = [jnp.exp(view - largest) for view in views]
    total = sum(powers)
    pooled = sum(power * view for power, view in zip(powers, views, strict=True)) / total
    return pooled, (images, pooled, largest + jnp.log(total))


def _soft_pool_backward(size, kept, grads):
    images, pooled, log_total = kept
    batch, out_h, out_w, channels = grads.shape
    windows = images[:, : out_h * size, : out_w * size].reshape(batch, out_h, size, out_w, size, channels)
    weights = jnp.exp(windows - _to_windows(log_total))
    return (_from_windows(_to_windows(grads) * weights * (1 + windows - _to_windows(pooled)), images.shape),)


soft_pool.defvjp(_soft_pool_forward, _soft_pool_backward)


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
