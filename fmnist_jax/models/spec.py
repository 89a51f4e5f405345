"""The static description of a network: everything about it that changes the compiled program."""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

from fmnist_jax import convolution, whitening
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
    """A network of any family; only a CNN has blocks, and a ResNet-18 has no hidden dense layers."""

    family: str
    blocks: tuple[ConvBlock, ...]
    order: tuple[str, ...]
    dense: tuple[DenseLayer, ...]
    classes: int
    kernel_init: str
    bias_init: str
    conv_method: str
    bridge: int = 0  # channels of the map that a dense layer makes of the first block's; 0: there is none
    logits_activation: str = "none"
    whiten: int = 0  # size of the filters of a whitening layer before the first block; 0: there is none


# The four stages of ResNet-18, of two basic blocks each: filters, and the stride of the first block (He et al. 2016,
# table 1; as torchvision.models.resnet18 has them).
RESNET18_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
RESNET18_BLOCKS = 2


def feature_shapes(spec: Spec, image_shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(H, W, C) after each block, and a bridge (of ResNet-18: each convolution), what the first of them takes first.

    That is the image, or what a whitening layer makes of it.

    Raises:
      UserError: a kernel or a pooling window larger than what it is applied to; channels that the family cannot take.
    """
    if spec.family == "resnet18":
        if image_shape[-1] not in (1, 3):
            raise UserError(
                f"model.family='resnet18': takes images of 1 or 3 channels, these have {image_shape[-1]}; "
                "take another family"
            )
        return [image_shape, *(product.out for product in _resnet18(image_shape))]
    height, width, channels = image_shape
    if spec.whiten > min(height, width):
        raise UserError(f"model.whiten={spec.whiten}: larger than the {height}x{width} images; take a smaller one")
    shapes = [(height, width, whitening.channels(spec.whiten, channels)) if spec.whiten else image_shape]
    for i, block in enumerate(spec.blocks):
        height, width, _ = shapes[-1]
        out = [convolution.conv_size(n, block.kernel, block.stride, block.padding) for n in (height, width)]
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
        if i == 0 and spec.bridge:
            shapes.append((*out, spec.bridge))
    return shapes


def forward_flops(spec: Spec, image_shape: tuple[int, int, int]) -> int:
    """Twice the multiply-adds of one image through convolutions and dense layers."""
    return _whitening_product(spec, image_shape) + sum(_products(spec, image_shape))


def training_flops(spec: Spec, image_shape: tuple[int, int, int]) -> int:
    """Of a training step, an image: each layer's product, and twice that for its gradients by weights and by inputs.

    Nobody needs the gradient by the images: the first layer has no such product. A whitening layer before it, which is
    not trained, has its own alone.
    """
    first, *others = _products(spec, image_shape)
    return _whitening_product(spec, image_shape) + 2 * first + 3 * sum(others)


def _whitening_product(spec: Spec, image_shape: tuple[int, int, int]) -> int:
    height, width, channels = image_shape
    return 2 * height * width * spec.whiten**2 * channels * whitening.channels(spec.whiten, channels)


def _products(spec: Spec, image_shape: tuple[int, int, int]) -> list[int]:
    """Twice the multiply-adds of one image through each layer that has weights to train, the first one first."""
    shapes = feature_shapes(spec, image_shape)
    if spec.family == "resnet18":
        products = [2 * math.prod(one.out) * one.kernel**2 * one.channels for one in _resnet18(image_shape)]
        return [*products, 2 * RESNET18_STAGES[-1][0] * spec.classes]
    found, bridge, inputs = [], [], shapes
    if spec.bridge:
        _, before, after, *_ = shapes
        bridge = [2 * math.prod(before) * math.prod(after)]
        inputs = [shape for i, shape in enumerate(shapes) if i != 1]
    for block, (height, width, channels) in zip(spec.blocks, inputs, strict=False):
        out = [convolution.conv_size(n, block.kernel, block.stride, block.padding) for n in (height, width)]
        found.append(2 * math.prod(out) * block.kernel**2 * channels * block.filters)
    found += bridge
    fan_in = math.prod(shapes[-1])
    for units in (*(layer.units for layer in spec.dense), spec.classes):
        found.append(2 * fan_in * units)
        fan_in = units
    return found


class _Convolution(NamedTuple):
    kernel: int
    channels: int
    out: tuple[int, int, int]


def _resnet18(image_shape: tuple[int, int, int]) -> Iterator[_Convolution]:
    """Every convolution of ResNet-18, in order; each is padded by half its kernel."""

    def conv(shape, kernel, stride, filters):
        sides = (convolution.conv_size(n, kernel, stride, kernel // 2) for n in shape[:2])
        return _Convolution(kernel, shape[-1], (*sides, filters))

    stem = conv((*image_shape[:2], 3), 7, 2, RESNET18_STAGES[0][0])
    yield stem
    shape = conv(stem.out, 3, 2, stem.out[-1]).out  # the pooling has the window of such a convolution
    for filters, stride in RESNET18_STAGES:
        for i in range(RESNET18_BLOCKS):
            step = 1 if i else stride
            first = conv(shape, 3, step, filters)
            yield first
            yield conv(first.out, 3, 1, filters)
            if step != 1 or shape[-1] != filters:
                yield conv(shape, 1, step, filters)
            shape = first.out
