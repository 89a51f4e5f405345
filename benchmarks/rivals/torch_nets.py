"""The networks of the cases, as torch.nn modules."""

from benchmarks.cases import Case
from benchmarks.engine import Engine
from fmnist_jax import convolution, models
from fmnist_jax.models.spec import RESNET18_BLOCKS, RESNET18_STAGES

POOLINGS = {"max": "MaxPool2d", "average": "AvgPool2d"}


def torch_net(case: Case | Engine):
    """The network of a case, drawn by the law that the case has."""
    return resnet18(case.static.model.classes) if case.static.model.family == "resnet18" else _sequential(case)


def _sequential(case: Case):
    """Raises KeyError for an activation or a pooling that no case here has."""
    from torch import nn

    spec, model, parts = case.static.model, case.checked.model, []
    shapes = models.feature_shapes(spec, case.static.image_shape)
    rates = model.dropout or (0.0,)
    for i, (block, shape) in enumerate(zip(spec.blocks, shapes, strict=False)):
        parts += _padded(nn, block, shape)
        made = {
            "activation": _activation(nn, block.activation),
            "pool": getattr(nn, POOLINGS[block.pool])(block.pool_size) if block.pool != "none" else None,
            "norm": nn.BatchNorm2d(block.filters, model.norm_epsilon, momentum=1 - model.norm_momentum)
            if block.norm == "batch"
            else None,
        }
        order = list(spec.order)
        place = order.index("activation")
        if (block.activation, block.pool) == ("relu", "max") and order[place:][1:2] == ["pool"]:
            order[place : place + 2] = ["pool", "activation"]  # the same values, with a fourth of the ReLUs
        parts += [made[name] for name in order if made[name] is not None]
        parts += [nn.Dropout(rates[i % len(rates)])] * block.dropout
    parts.append(nn.Flatten())
    height, width, channels = shapes[-1]
    width, rates = height * width * channels, model.dense_dropout or (0.0,)
    for i, layer in enumerate(spec.dense):
        parts += [nn.Linear(width, layer.units), _activation(nn, layer.activation)]
        parts += [nn.Dropout(rates[i % len(rates)])] * layer.dropout
        width = layer.units
    parts += [nn.Linear(width, spec.classes), _activation(nn, spec.logits_activation)]
    parts = [part for part in parts if not isinstance(part, nn.Identity)]
    for part in parts:
        if isinstance(part, nn.Conv2d | nn.Linear):
            _draw(nn, part, model)
    return nn.Sequential(*parts)


def _activation(nn, name: str):
    return {"relu": nn.ReLU(inplace=True), "none": nn.Identity()}[name]


def _padded(nn, block: models.ConvBlock, shape: tuple[int, int, int]) -> list:
    """A convolution of images of `shape` (H, W, C), and before it the zeros that it cannot add itself."""

    def conv(padding):
        return nn.Conv2d(shape[2], block.filters, block.kernel, block.stride, padding)

    (above, below), (left, right) = (
        convolution.pads(size, block.kernel, block.stride, block.padding) for size in shape[:2]
    )
    if (above, left) == (below, right) or _ragged(block, shape, (above, left)):
        return [conv((above, left))]
    return [nn.ZeroPad2d((left, right, above, below)), conv(0)]


def _ragged(block: models.ConvBlock, shape, padding: tuple[int, int]) -> bool:
    """Whether the pooling cuts off all that more zeros on the far side would add."""
    if block.pool == "none":
        return False
    ends = zip(shape[:2], padding, strict=True)
    return all(
        convolution.conv_size(size, block.kernel, block.stride, pad) // block.pool_size
        == convolution.conv_size(size, block.kernel, block.stride, block.padding) // block.pool_size
        for size, pad in ends
    )


def _draw(nn, layer, model) -> None:
    """Weights by the law `model.kernel_init`; PyTorch has drawn its own already. Raises KeyError for other laws."""
    if (model.kernel_init, model.bias_init) == ("pytorch", "pytorch"):
        return
    deviation = model.init_stddev
    laws = {
        "keras": nn.init.xavier_uniform_,
        "truncated_normal": lambda weight: nn.init.trunc_normal_(
            weight, std=deviation, a=-2 * deviation, b=2 * deviation
        ),
    }
    laws[model.kernel_init](layer.weight)
    {"zeros": nn.init.zeros_}[model.bias_init](layer.bias)


def resnet18(classes: int):
    """torchvision.models.resnet18 (0.28.0) in torch.nn, module for module: torchvision's wheels want CUDA's torch.

    Takes images of 3 channels, or of 1, which it repeats as ours does.
    """
    from torch import nn

    def conv(channels, filters, size, stride):
        return nn.Conv2d(channels, filters, size, stride, size // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, channels, filters, stride):
            super().__init__()
            self.conv1, self.bn1 = conv(channels, filters, 3, stride), nn.BatchNorm2d(filters)
            self.relu = nn.ReLU(inplace=True)
            self.conv2, self.bn2 = conv(filters, filters, 3, 1), nn.BatchNorm2d(filters)
            self.downsample = None
            if stride != 1 or channels != filters:
                self.downsample = nn.Sequential(conv(channels, filters, 1, stride), nn.BatchNorm2d(filters))

        def forward(self, inputs):
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(inputs)))))
            return self.relu(out + (inputs if self.downsample is None else self.downsample(inputs)))

    class ThreeChannels(nn.Module):
        def forward(self, images):
            return images.expand(-1, 3, -1, -1)

    stages, channels = [], 64
    for filters, stride in RESNET18_STAGES:
        blocks = []
        for i in range(RESNET18_BLOCKS):
            blocks.append(Block(channels, filters, 1 if i else stride))
            channels = filters
        stages.append(nn.Sequential(*blocks))
    stem = [ThreeChannels(), conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    net = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return net
