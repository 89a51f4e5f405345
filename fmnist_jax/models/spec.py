"""The static description of a network: everything about it that changes the compiled program."""

import dataclasses
import math

from fmnist_jax import layers
from fmnist_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ConvBlock:
    """One convolution and what follows it, in the order of `Spec.order`; dropout, where asked for, comes last."""

    filters: int
    kernel: int
    stride: int
    padding: str | int
    activation: str
    pool: str
    pool_size: int
    norm: str
    dropout: bool


@dataclasses.dataclass(frozen=True)
class DenseLayer:
    """One hidden fully connected layer."""

    units: int
    activation: str
    dropout: bool


@dataclasses.dataclass(frozen=True)
class Spec:
    """A network of either family; an MLP has no blocks."""

    family: str
    blocks: tuple[ConvBlock, ...]
    order: tuple[str, ...]
    dense: tuple[DenseLayer, ...]
    classes: int
    kernel_init: str
    bias_init: str
    conv_method: str


def feature_shapes(spec: Spec, image_shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(H, W, C) after each block, the input's own shape first.

    Raises:
      UserError: a kernel or a pooling window larger than what it is applied to.
    """
    shapes = [image_shape]
    for i, block in enumerate(spec.blocks):
        height, width, _ = shapes[-1]
        out = [layers.conv_size(n, block.kernel, block.stride, block.padding) for n in (height, width)]
        if min(out) < 1:
            raise UserError(
                f"model.kernel={block.kernel} in block {i + 1}: larger than its {height}x{width} input; "
                "take a smaller kernel, padding 'same', or fewer blocks"
            )
        if block.pool != "none":
            if min(out) < block.pool_size:
                raise UserError(
                    f"model.pool_size={block.pool_size} in block {i + 1}: larger than its {out[0]}x{out[1]} input; "
                    "take a smaller window, pool 'none', or fewer blocks"
                )
            out = [n // block.pool_size for n in out]
        shapes.append((*out, block.filters))
    return shapes


def forward_flops(spec: Spec, image_shape: tuple[int, int, int]) -> int:
    """Twice the multiply-adds of one image through convolutions and dense layers; training costs three times it."""
    total = 0
    shapes = feature_shapes(spec, image_shape)
    for block, (height, width, channels) in zip(spec.blocks, shapes, strict=False):
        out = [layers.conv_size(n, block.kernel, block.stride, block.padding) for n in (height, width)]
        total += 2 * math.prod(out) * block.kernel**2 * channels * block.filters
    fan_in = math.prod(shapes[-1])
    for units in (*(layer.units for layer in spec.dense), spec.classes):
        total += 2 * fan_in * units
        fan_in = units
    return total
