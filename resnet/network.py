"""From an architecture to a network: Table 1, initialised as in Sec. 3.4."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from resnet.architectures import Architecture
from resnet.blocks import EXPANSION, Block, basic, bottleneck, conv_bn, shortcut


class Head(nn.Module):
    """Global average pooling and the fully-connected classifier. (N, C, H, W) -> (N, classes) logits."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _stem(architecture: Architecture, channels: int) -> nn.Sequential:
    if architecture.stem == "cifar":
        return nn.Sequential(*conv_bn(channels, architecture.width, 3, 1), nn.ReLU(inplace=True))
    return nn.Sequential(*conv_bn(channels, architecture.width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))


def _block(architecture: Architecture, inputs: int, width: int, stride: int) -> Block:
    if architecture.block == "basic":
        residual, outputs = basic(inputs, width, stride), width
    else:
        residual, outputs = bottleneck(inputs, width, stride, architecture.stride_on), EXPANSION * width
    return Block(residual, shortcut(architecture.shortcut, inputs, outputs, stride))


def build(architecture: Architecture, classes: int, channels: int = 3) -> nn.Sequential:
    """The network with children conv1, conv2_x, ..., head. (N, channels, H, W) -> (N, classes) logits.

    Weights are drawn from torch's global generator: seed it, or use `initialised`.
    """
    children: OrderedDict[str, nn.Module] = OrderedDict(conv1=_stem(architecture, channels))
    inputs = architecture.width
    for stage, blocks in enumerate(architecture.blocks):
        width = architecture.width * 2**stage
        rows = []
        for i in range(blocks):
            rows.append(_block(architecture, inputs, width, stride=2 if stage > 0 and i == 0 else 1))
            inputs = width if architecture.block == "basic" else EXPANSION * width
        children[f"conv{stage + 2}_x"] = nn.Sequential(*rows)
    children["head"] = Head(inputs, classes)
    return nn.Sequential(children)


def initialise(network: nn.Module, seed: int) -> None:
    """He et al. 2015b as Sec. 3.4 uses it: zero-mean normal, variance 2 / fan-in; biases 0; batch norm 1 and 0.

    Drawn on the CPU from `seed` alone, so every device starts from the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2.0 / fan_in) ** 0.5)
                if module.bias is not None:
                    module.bias.zero_()
