"""Activations, element by element but softmax; `slope` [] is of the leaky ones, traced, and ignored by the others."""

import jax
import jax.numpy as jnp

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
