"""Networks built from architectures: Table 1, initialised as in Sec. 3.4."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from resnet.architectures import EXPANSION, Architecture, architecture, changed
from resnet.blocks import Gated, activation, block, convolution, normalisation


class Head(nn.Module):
    """Global average pooling and the fully-connected classifier. (N, C, H, W) -> (N, classes) logits."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _stem(network: Architecture, channels: int) -> nn.Sequential:
    """Returns conv1, (N, channels, H, W) -> (N, width, H / 4, W / 4); for small images (N, width, H, W)."""
    small = network.stem == "cifar"
    kernel, stride = (3, 1) if small else (7, 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = convolution(network, channels, network.width, kernel, stride, end=True)
    if network.first_activation == "conv1":
        layers["bn"], layers["relu"] = normalisation(network, network.width), nn.ReLU(inplace=True)
        if not small:
            layers["pool"] = nn.MaxPool2d(3, 2, 1)
    elif not small:
        layers["pad"], layers["pool"] = nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)
    return nn.Sequential(layers)


def _strides(network: Architecture, stage: int) -> list[int]:
    """Returns the strides of a stage's blocks; conv3_x, conv4_x and conv5_x halve the feature map (Table 1)."""
    strides = [1] * network.blocks[stage]
    if network.stride_in == "first" and stage > 0:
        strides[0] = 2
    if network.stride_in == "last" and stage < len(network.blocks) - 1:
        strides[-1] = 2
    return strides


class Network(nn.Sequential):
    """A network and its architecture. (N, channels, H, W) -> (N, classes) logits."""

    def __init__(self, children: OrderedDict[str, nn.Module], architecture: Architecture, classes: int, channels: int):
        super().__init__(children)
        self.architecture, self.classes, self.channels = architecture, classes, channels


def build(network: str | Architecture, classes: int, channels: int = 3, **fields: Any) -> Network:
    """Builds the network with children conv1, conv2_x, ..., head. (N, channels, H, W) -> (N, classes) logits.

    `fields` replace those of the architecture: build("resnet-50", classes=1000, stride_on="3x3"). Weights are drawn
    from torch's global generator; `initialise` draws the paper's. Raises ValueError for unknown names and values.
    """
    if isinstance(network, str):
        network = architecture(network)
    network = changed(network, fields)
    children: OrderedDict[str, nn.Module] = OrderedDict(conv1=_stem(network, channels))
    inputs = network.width
    for stage in range(len(network.blocks)):
        width = network.width * 2**stage
        rows = []
        for i, stride in enumerate(_strides(network, stage)):
            rows.append(block(network, inputs, width, stride, first=stage == i == 0))
            inputs = width if network.block == "basic" else EXPANSION * width
        children[f"conv{stage + 2}_x"] = nn.Sequential(*rows)
    if network.preactivated:  # "an extra activation right after its element-wise addition" (2016, Sec. 4.1)
        children["activation"] = activation(network, inputs)
    children["head"] = Head(inputs, classes)
    return Network(children, network, classes, channels)


def initialise(network: Network, seed: int) -> None:
    """Draws weights as He et al. 2015b (Sec. 3.4): zero-mean normal, variance 2 / fan-in; biases 0; batch norm 1 and 0.

    With the architecture's `initialisation` "identity", 3x3 convolutions with stride 1 and as many outputs as inputs
    start as the identity instead (Dirac kernels: Zagoruyko and Komodakis 2017, arXiv:1706.00388); the others have
    the numbers that they have without it. Gates begin with the bias of their architecture. Numbers are drawn on the CPU
    from `seed`, so every device starts from the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2.0 / fan_in) ** 0.5)
                if module.bias is not None:
                    module.bias.zero_()
        for module in network.modules():
            if isinstance(module, Gated) and module.conv.bias is not None:
                module.conv.bias.fill_(module.initial_bias)
            if network.architecture.initialisation == "identity" and _can_be_identity(module):
                nn.init.dirac_(module.get_parameter("weight"))


def _can_be_identity(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or module.in_channels != module.out_channels:
        return False
    return (module.kernel_size, module.stride) == ((3, 3), (1, 1))
