"""Pooling with gradients of its own: JAX's, through strided views or shared among equals, cost whole passes more."""

import functools

import jax
import jax.numpy as jnp


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
    return pooled, (images, pooled, largest, 1 / total)


def _soft_pool_backward(size, kept, grads):
    images, pooled, largest, share = kept
    batch, out_h, out_w, channels = grads.shape
    windows = images[:, : out_h * size, : out_w * size].reshape(batch, out_h, size, out_w, size, channels)
    weights = jnp.exp(windows - _to_windows(largest)) * _to_windows(share)
    return (_from_windows(_to_windows(grads) * weights * (1 + windows - _to_windows(pooled)), images.shape),)


soft_pool.defvjp(_soft_pool_forward, _soft_pool_backward)


POOLINGS = {"max": max_pool, "average": average_pool, "soft": soft_pool, "none": lambda images, size: images}
