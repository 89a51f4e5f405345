"""Convolution, and what follows it, that stays fast and traceable inside a population of runs.

`vmap` over weights turns `lax.conv` into a grouped convolution, which is slow (jax#12868, #26568): there it is
patches (slices and a concatenate) and one matrix product. Mapped on a CPU it goes by blocks of images that stay in the
cache, together with the activation and pooling after it; inside a loop XLA:CPU has a library for some convolutions and
nothing good for the others and for JAX's gradients (#13800), so each product is given the form that is fast.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from fmnist_jax.activations import ACTIVATIONS
from fmnist_jax.pooling import POOLINGS

# Patches of a block of images: about one core's L2. Measured with benchmarks/throughput.py on two cores of 1 MiB each.
BLOCK_BYTES = 2**20
# Where no pooling follows, and a batch fits into so many times that, it is not cut: no outputs to put together.
UNCUT = 4
# Where no more than this share of the patches is of the images, and the rest padding, that is left out: so in maps of
# up to 5 x 5 pixels under a kernel of 3 x 3, where a ResNet-18 on images of 28 x 28 spends most of its products.
MET = 0.8
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


@dataclasses.dataclass(frozen=True)
class Stage:
    """A convolution's geometry, and what is done to its output at once, before a block of it leaves the cache."""

    stride: int
    space: Pads
    input_gradient: bool = True
    then: tuple[tuple, ...] = ()  # ("activation", name) and ("pool", name, size), in order

    def out(self, images, kernel: int) -> tuple[int, int]:
        """Height and width of the convolution of images [B, H, W, C]."""
        sizes = zip(images.shape[1:3], self.space, strict=True)
        return tuple((n + before + after - kernel) // self.stride + 1 for n, (before, after) in sizes)

    def product(self, images, kernel):
        """images [B, H, W, C] -> [B, H', W', F] as one matrix product, or of a small map one a place of the kernel."""
        if self.mostly_zeros(images, kernel.shape[0]):
            return _by_taps(images, kernel, self)
        return patches(images, kernel.shape[0], self.stride, self.space) @ kernel.reshape(-1, kernel.shape[3])

    def mostly_zeros(self, images, kernel: int) -> bool:
        """Whether so much of the patches of images [B, H, W, C] is padding that leaving it out is faster."""
        met = [sum(o.stop - o.start for _, o in side) for side in self.meetings(images, kernel)]
        return math.prod(met) <= MET * math.prod(self.out(images, kernel)) * kernel**2

    def meetings(self, images, kernel: int) -> list[list[tuple[slice, slice]]]:
        """Of each axis, for each place of the kernel: the inputs that it meets, and the outputs that have them."""
        return [
            [_meeting(place - before, n, out, self.stride) for place in range(kernel)]
            for n, out, (before, _) in zip(images.shape[1:3], self.out(images, kernel), self.space, strict=True)
        ]

    def finish(self, features, bias, slope):
        """What follows the convolution; bias [F], or None."""
        features = features if bias is None else features + bias
        for part in self.then:
            features = apply(part, features, slope)
        return features


def apply(part: tuple, features, slope):
    """An activation or a pooling, as Stage names them, of features [B, H, W, F]."""
    kind, name, *size = part
    return ACTIVATIONS[name](features, slope) if kind == "activation" else POOLINGS[name](features, *size)


def _meeting(offset: int, inputs: int, outputs: int, stride: int) -> tuple[slice, slice]:
    """The inputs o * stride + offset that there are, and the outputs o that have them; both may be empty."""
    first = max(0, -(offset // stride))
    end = max(first, min(outputs, (inputs - 1 - offset) // stride + 1))
    if end == first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(start, start + (end - first - 1) * stride + 1, stride), slice(first, end)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _by_taps(images, kernel, stage: Stage):
    """The convolution as a sum over the kernel's places, each on what it meets: of a 1 x 1 map, the middle alone."""
    out = jnp.zeros((len(images), *stage.out(images, kernel.shape[0]), kernel.shape[3]), images.dtype)
    for i, j, there, here in _taps(stage, images, kernel):
        out = out.at[here].add(images[there] @ kernel[i, j])
    return out


def _taps(stage: Stage, images, kernel) -> list[tuple]:
    """(i, j, the part of images that kernel[i, j] meets, the part of the output that has it), where there is any."""
    rows, columns = stage.meetings(images, kernel.shape[0])
    pairs = [(i, j, r, c) for i, r in enumerate(rows) for j, c in enumerate(columns)]
    every = slice(None)
    return [(i, j, (every, r[0], c[0]), (every, r[1], c[1])) for i, j, r, c in pairs if r[1] != slice(0, 0) != c[1]]


def _by_taps_forward(images, kernel, stage):
    return _by_taps(images, kernel, stage), (images, kernel)


def _by_taps_backward(stage, kept, grads):
    images, kernel = kept
    none = jnp.zeros(kernel.shape[2:], kernel.dtype)
    by_images, by_kernel = jnp.zeros_like(images), [[none] * kernel.shape[1] for _ in range(len(kernel))]
    for i, j, there, here in _taps(stage, images, kernel):
        by_images = by_images.at[there].add(grads[here] @ kernel[i, j].T)
        by_kernel[i][j] = jnp.einsum("bhwc,bhwf->cf", images[there], grads[here])
    return by_images, jnp.array(by_kernel)


_by_taps.defvjp(_by_taps_forward, _by_taps_backward)


def conv(images, kernel, bias=None, slope=0.0, *, stride: int, padding: str | int, method: str, **more):
    """Cross-correlation of images [B, H, W, C] with kernel [k, k, C, F], and what follows -> [B, H', W', F].

    Args:
      bias: [F], or None for none.
      slope: of the leaky activations, where one follows.
      method: "patches" is one matrix product; "blocked" goes by blocks of images that stay in a CPU's cache, and takes
        XLA's convolution where that is fast; "lax" is XLA's own.
      more: `then` and `input_gradient` of Stage; the second False where nobody asks for the gradient by images, so
        that "blocked" does not compute it.
    """
    space = tuple(pads(n, kernel.shape[0], stride, padding) for n in images.shape[1:3])
    stage = Stage(stride, space, **more)
    if method == "blocked":
        return _blocked(images, kernel, bias, jnp.asarray(slope, kernel.dtype), stage)
    out = stage.product(images, kernel) if method == "patches" else _lax_conv(images, kernel, stride, space)
    return stage.finish(out, bias, slope)


def _lax_conv(images, kernel, stride: int, space: Pads, *, apart: int = 1, kernel_apart: int = 1):
    """XLA's convolution, of images or with a kernel whose pixels stand so far apart, zeros between."""
    spread = {"lhs_dilation": (apart, apart), "rhs_dilation": (kernel_apart, kernel_apart)}
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(images, kernel, (stride, stride), space, dimension_numbers=numbers, **spread)


def _in_library(shape: Sequence[int]) -> bool:
    """Whether XLA:CPU leaves a convolution with this output [B, H, W, F] to its library, which needs no patches.

    Measured, jax 0.10.2: of fewer features, and always of small images, it does not, and its own loops are up to 60
    times slower.
    """
    return shape[1] * shape[2] >= 49 and shape[3] > 16


def _filling(features: int) -> int:
    """How many more, of zeros, make a convolution of XLA:CPU's library faster.

    Features that nearly fill its tiles take half as long again as full ones: measured from 17 to 256, with AVX-512.
    """
    return -features % 16 if features % 64 > 48 or 24 < features % 64 < 32 else 0


def _library_conv(images, kernel, stride: int, space: Pads, **spread):
    """`_lax_conv` for XLA:CPU's library, which is up to five times slower with 3 or 5 channels than with 4 or 6."""
    odd = images.shape[3] % 2 if images.shape[3] > 1 else 0
    features, more = kernel.shape[3], _filling(kernel.shape[3])
    images, kernel = (
        jnp.pad(images, ((0, 0),) * 3 + ((0, odd),)),
        jnp.pad(kernel, ((0, 0),) * 2 + ((0, odd), (0, more))),
    )
    out = _lax_conv(images, kernel, stride, space, **spread)
    return out[..., :features] if more else out


def _forward(stage: Stage, images, kernel):
    if _in_library((len(images), *stage.out(images, kernel.shape[0]), kernel.shape[3])):
        return _library_conv(images, kernel, stage.stride, stage.space)
    return stage.product(images, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _blocked(images, kernel, bias, slope, stage: Stage):
    blocks = _in_blocks(images, kernel, stage, images)
    return _joined(lax.map(lambda block: stage.finish(_forward(stage, block, kernel), bias, slope), blocks))


def _blocked_forward(images, kernel, bias, slope, stage):
    def one(block):
        return jax.vjp(stage.finish, _forward(stage, block, kernel), bias, slope)

    # `finished` is the gradient of what follows, as a pytree: only its arrays are kept, such as the places of maxima.
    out, finished = lax.map(one, _in_blocks(images, kernel, stage, images))
    return _joined(out), (images, kernel, bias, slope, finished)


def _blocked_backward(stage, kept, grads):
    images, kernel, bias, slope, finished = kept
    size = kernel.shape[0]
    # The transpose of a convolution is the convolution, with the kernel turned round, of gradients that stand a stride
    # apart. Turned out here, the loop has the kernel as an array; inside, XLA would fold it into a convolution that no
    # library takes. Nor does the library take one of stride 1 that is padded by as much as the kernel reaches, as after
    # "valid".
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    opposite = _opposite(stage, images, size)
    most = size if stage.stride > 1 else max(size - 1, 1)
    turnable = all(0 <= n < most for side in opposite for n in side)

    def by_images(block, block_grads):
        if not stage.input_gradient:
            return jnp.zeros_like(block)
        if turnable and _in_library(block.shape) and _in_library(block_grads.shape):
            # The zeros of a pooling's ragged edge would be folded into the padding, and no library take it.
            return _library_conv(lax.optimization_barrier(block_grads), turned, 1, opposite, apart=stage.stride)
        return jax.vjp(lambda block: stage.product(block, kernel), block)[1](block_grads)[0]

    def body(sums, xs):
        block, block_grads, finished = xs
        block_grads, *by_others = finished(block_grads)
        sums = jax.tree.map(jnp.add, sums, (_by_kernel(stage, block, block_grads, size), *by_others))
        return sums, by_images(block, block_grads)

    blocks = tuple(_in_blocks(array, kernel, stage, images) for array in (images, grads))
    sums = jax.tree.map(jnp.zeros_like, (kernel, bias, slope))
    (by_kernel, by_bias, by_slope), d_images = lax.scan(body, sums, (*blocks, finished))
    return _joined(d_images), by_kernel, by_bias, by_slope


_blocked.defvjp(_blocked_forward, _blocked_backward)


def _opposite(stage: Stage, images, size: int) -> Pads:
    """Zeros about the gradients, a stride apart, whose convolution has the size of the images."""
    sizes = zip(images.shape[1:3], stage.out(images, size), stage.space, strict=True)
    return tuple((size - 1 - before, n + before - (out - 1) * stage.stride - 1) for n, out, (before, _) in sizes)


def _by_kernel(stage: Stage, images, grads, size: int):
    """The gradient by the kernel [k, k, C, F]."""
    if _in_library(grads.shape):
        # A convolution too: of the images, channels as batch and batch as channels, with the gradients as its kernel.
        arrays = images.transpose(3, 1, 2, 0), grads.transpose(1, 2, 0, 3)
        found = _library_conv(*arrays, 1, stage.space, kernel_apart=stage.stride)
        return found[:, :size, :size].transpose(1, 2, 0, 3)  # the stride may leave a last row that no output has
    if stage.mostly_zeros(images, size):
        kernel = jnp.zeros((size, size, images.shape[3], grads.shape[3]), images.dtype)
        return _by_taps_backward(stage, (images, kernel), grads)[1]
    windows = patches(images, size, stage.stride, stage.space)
    return jnp.einsum("bhwk,bhwf->kf", windows, grads).reshape(size, size, images.shape[3], grads.shape[3])


def _joined(blocks):
    """[B / n, n, ...] -> [B, ...]."""
    return blocks.reshape(-1, *blocks.shape[2:])


def _in_blocks(array, kernel, stage: Stage, images):
    """[B, ...] -> [B / n, n, ...], n the largest divisor of B whose patches and outputs fit in a block, or 1."""
    batch, height, width, _ = images.shape
    pixels = math.ceil(height / stage.stride) * math.ceil(width / stage.stride)
    of_one = pixels * max(kernel[..., 0].size, kernel.shape[3]) * kernel.dtype.itemsize
    n = max((n for n in range(1, batch + 1) if batch % n == 0 and n * of_one <= BLOCK_BYTES), default=1)
    if batch * of_one <= UNCUT * BLOCK_BYTES and not any(part[0] == "pool" for part in stage.then):
        n = batch
    return array.reshape(batch // n, n, *array.shape[1:])
