"""Initialisers of kernels and biases: a draw by name, times a traced scale.

Kernels are (*receptive_field, fan_in_channels, fan_out_channels); with r the size of the receptive field,
fan_in = r * fan_in_channels and fan_out = r * fan_out_channels, as in PyTorch, Keras and jax.nn.initializers.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import variance_scaling
from jax.typing import ArrayLike, DTypeLike

Shape = tuple[int, ...]
KernelInit = Callable[[Array, Shape, ArrayLike, DTypeLike], Array]
BiasInit = Callable[[Array, Shape, int, ArrayLike, DTypeLike], Array]


def _scaled(gain_squared: float, mode: str, distribution: str) -> KernelInit:
    """A draw of variance gain_squared / fan, which ignores the given deviation."""
    draw = variance_scaling(gain_squared, mode, distribution)
    return lambda key, shape, stddev, dtype: draw(key, shape, dtype)


def _truncated_normal(key: Array, shape: Shape, stddev: ArrayLike, dtype: DTypeLike) -> Array:
    return jax.random.truncated_normal(key, -2, 2, shape, dtype) * jnp.asarray(stddev, dtype)


# Xavier: Glorot & Bengio 2010, (12) and (16). Kaiming: He et al. 2015, (10), gain sqrt(2). LeCun: LeCun et al. 1998,
# section 4.6. The normals of Xavier and Kaiming are untruncated (PyTorch); LeCun's is cut at two deviations and its
# variance corrected for it (Keras, Flax). The defaults of dense and convolution layers are "keras", glorot_uniform,
# and "pytorch", kaiming_uniform(a=sqrt(5)), which is U(-1, 1) / sqrt(fan_in).
KERNEL_INITS: dict[str, KernelInit] = {
    "xavier_uniform": _scaled(1.0, "fan_avg", "uniform"),
    "xavier_normal": _scaled(1.0, "fan_avg", "normal"),
    "kaiming_uniform": _scaled(2.0, "fan_in", "uniform"),
    "kaiming_normal": _scaled(2.0, "fan_in", "normal"),
    "lecun_uniform": _scaled(1.0, "fan_in", "uniform"),
    "lecun_normal": _scaled(1.0, "fan_in", "truncated_normal"),
    "truncated_normal": _truncated_normal,
    "keras": _scaled(1.0, "fan_avg", "uniform"),
    "pytorch": _scaled(1 / 3, "fan_in", "uniform"),
}

BIAS_INITS: dict[str, BiasInit] = {
    "zeros": lambda key, shape, fan_in, stddev, dtype: jnp.zeros(shape, dtype),
    "pytorch": lambda key, shape, fan_in, stddev, dtype: jax.random.uniform(key, shape, dtype, -1, 1) * fan_in**-0.5,
    "truncated_normal": lambda key, shape, fan_in, stddev, dtype: _truncated_normal(key, shape, stddev, dtype),
}


def kernel(
    name: str,
    key: Array,
    shape: Shape,
    *,
    scale: ArrayLike = 1.0,
    stddev: ArrayLike = 0.05,
    dtype: DTypeLike = jnp.float32,
) -> Array:
    """A kernel of `shape` from the law `name` of KERNEL_INITS, the whole draw times `scale`.

    `stddev` is read by "truncated_normal" alone: N(0, stddev) with values past two stddev drawn again and the
    variance not corrected for it (TensorFlow's truncated_normal). Raises KeyError for an unknown name.
    """
    return KERNEL_INITS[name](key, shape, stddev, dtype) * jnp.asarray(scale, dtype)


def bias(
    name: str,
    key: Array,
    shape: Shape,
    fan_in: int,
    *,
    scale: ArrayLike = 1.0,
    stddev: ArrayLike = 0.05,
    dtype: DTypeLike = jnp.float32,
) -> Array:
    """A bias of `shape` from the law `name` of BIAS_INITS, the whole draw times `scale`.

    `fan_in` is that of the layer's kernel: "pytorch" draws from U(-1, 1) / sqrt(fan_in). `stddev` as in `kernel`.
    Raises KeyError for an unknown name.
    """
    return BIAS_INITS[name](key, shape, fan_in, stddev, dtype) * jnp.asarray(scale, dtype)
