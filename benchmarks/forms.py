"""Other forms of what the engine does, to be measured against it by benchmarks/ideas.py: none is used in training."""

import jax
import jax.numpy as jnp
from jax import lax

from fmnist_jax import convolution

SAME = ((1, 1), (1, 1))  # zeros around an image before a 3x3 convolution
# Lavin & Gray 2016, F(2x2, 3x3): inputs (equation 8's B^T), kernels (G), outputs (A^T).
_INPUT = jnp.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], jnp.float32)
_KERNEL = jnp.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], jnp.float32)
_OUTPUT = jnp.array([[1, 1, 1, 0], [0, 1, -1, -1]], jnp.float32)


def winograd(images, kernel):
    """3x3 "same" convolution of images [B, H, W, C], H and W even, with kernel [3, 3, C, F] -> [B, H, W, F].

    Winograd's F(2x2, 3x3): 16 products of [tiles, C] with [C, F] in place of 36 multiplications an output of 4.
    """
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), *SAME, (0, 0)))
    rows = jnp.stack([padded[:, i : i + height : 2] for i in range(4)])  # [4, B, H / 2, W + 2, C]
    tiles = jnp.stack([rows[:, :, :, j : j + width : 2] for j in range(4)], axis=1)  # [4, 4, B, H / 2, W / 2, C]
    tiles = jnp.einsum("ip,jq,pqbhwc->ijbhwc", _INPUT, _INPUT, tiles).reshape(16, -1, channels)
    kernels = jnp.einsum("ip,jq,pqcf->ijcf", _KERNEL, _KERNEL, kernel).reshape(16, channels, -1)
    products = (tiles @ kernels).reshape(4, 4, batch, height // 2, width // 2, -1)
    made = jnp.einsum("ip,jq,pqbhwf->bhiwjf", _OUTPUT, _OUTPUT, products)
    return made.reshape(batch, height, width, -1)


def row_wise(images, kernel):
    """3x3 "same" convolution as three products, each with patches of one row of the kernel."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), *SAME, (0, 0)))
    columns = jnp.concatenate([padded[:, :, j : j + width] for j in range(3)], axis=-1)  # [B, H + 2, W, 3 C]
    kernels = kernel.reshape(3, -1, kernel.shape[3])
    return sum(columns[:, i : i + height] @ kernels[i] for i in range(3))


def patches(images, kernel):
    """3x3 "same" convolution as one product."""
    return convolution.patches(images, 3, 1, SAME) @ kernel.reshape(-1, kernel.shape[3])


def lax_conv(images, kernel):
    """XLA's own 3x3 "same" convolution."""
    return lax.conv_general_dilated(images, kernel, (1, 1), SAME, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def reshape_max(images, size: int):
    """Max-pooling as the maximum over two axes of a reshaped array, with JAX's gradient (shared among equals)."""
    batch, height, width, channels = images.shape
    whole = images[:, : height // size * size, : width // size * size]
    return whole.reshape(batch, height // size, size, width // size, size, channels).max((2, 4))


def reduce_window_max(images, size: int):
    """Max-pooling as XLA's reduce_window, with JAX's gradient (select_and_scatter)."""
    window = (1, size, size, 1)
    return lax.reduce_window(images, -jnp.inf, lax.max, window, window, "VALID")


def strided_max(images, size: int):
    """Max-pooling over strided views with JAX's gradient: what the engine's has a gradient of its own instead of."""
    _, height, width, _ = images.shape
    out_h, out_w = height // size * size, width // size * size
    views = [images[:, i:out_h:size, j:out_w:size] for i in range(size) for j in range(size)]
    return jnp.stack(views).max(0)


class Unrolled:
    """`jax.lax`, but for loops whose bodies do `steps` steps at a time; of as many steps as that divides."""

    def __init__(self, steps: int):
        self.steps = steps

    def __getattr__(self, name):
        return getattr(lax, name)

    def fori_loop(self, lower, upper, body, first):
        """As lax.fori_loop."""

        def several(i, carried):
            for k in range(self.steps):
                carried = body(lower + i * self.steps + k, carried)
            return carried

        return lax.fori_loop(0, (upper - lower) // self.steps, several, first)


def recomputed(product):
    """A convolution's product whose backward pass makes the patches again and does not keep them."""

    def again(self, images, kernel):
        return jax.checkpoint(lambda images, kernel: product(self, images, kernel))(images, kernel)

    return again
