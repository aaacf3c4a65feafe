"""Building blocks: Fig. 5 and the shortcut options A, B, C of He et al. 2015; Fig. 2 and Fig. 4 of He et al. 2016."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet.architectures import EXPANSION, Architecture, Gate


class Padding(nn.Module):
    """Option A: identity, "with extra zero entries padded for increasing dimensions" and stride 2; no parameter."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


class Scaled(nn.Module):
    """Constant scaling (2016, Fig. 2 b): residual * F + shortcut * h(x)."""

    def __init__(self, residual: float, shortcut: float) -> None:
        super().__init__()
        self.residual, self.shortcut = residual, shortcut

    def forward(self, y: Tensor, h: Tensor, _x: Tensor) -> Tensor:
        return self.residual * y + self.shortcut * h


class Gated(nn.Module):
    """Gating (2016, Fig. 2 c and d), g(x) = sigmoid(W x + b) by a 1x1 convolution.

    Exclusive: g F + (1 - g) h(x); shortcut-only: F + (1 - g) h(x). Where F halves the feature map, so does the gate.
    """

    def __init__(self, kind: Gate, inputs: int, outputs: int, stride: int, bias: float) -> None:
        super().__init__()
        self.exclusive, self.initial_bias = kind == "exclusive", bias
        self.conv = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, y: Tensor, h: Tensor, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.conv(x))
        return (g * y if self.exclusive else y) + (1 - g) * h


class Block(nn.Module):
    """after(F(before(x)) + h(x)), Eqn. 1 and 2; without the sum in a plain network. Shapes: see `block`.

    `before` is the pre-activation of He et al. 2016; where it is `shared`, h starts from its output as F does. `after`
    is the ReLU of Fig. 2 in 2015. `addition` weighs the two branches in the variants of Fig. 2 in 2016.
    """

    def __init__(
        self,
        before: nn.Module,
        residual: nn.Module,
        shortcut: nn.Module | None,
        addition: nn.Module | None,
        after: nn.Module,
        *,
        shared: bool,
    ) -> None:
        super().__init__()
        self.before, self.residual, self.shortcut = before, residual, shortcut
        self.addition, self.after, self.shared = addition, after, shared
        # The gradient of batch normalisation needs its input, not its output, so the sum may overwrite the output: less
        # memory, bit-identical. A ReLU at the end of F does need its output.
        self.in_place = isinstance(list(residual.children())[-1], nn.BatchNorm2d)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.before(x)
        y = self.residual(activated)
        if self.shortcut is not None:
            x = activated if self.shared else x
            h = self.shortcut(x)
            if self.addition is not None:
                y = self.addition(y, h, x)
            elif self.in_place:
                y.add_(h)
            else:
                y = y + h
        out: Tensor = self.after(y)
        return out


def convolution(network: Architecture, inputs: int, outputs: int, kernel: int, stride: int, *, end: bool) -> nn.Conv2d:
    """Returns a convolution, in the paper's networks without a bias: batch normalisation follows. `end`: see `Bias`."""
    bias = network.bias == "all" or (network.bias == "ends" and end)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def normalisation(network: Architecture, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=network.bn_epsilon)


def activation(network: Architecture, channels: int) -> nn.Sequential:
    """Returns what precedes the convolutions of a unit of 2016, Fig. 4 d (ReLU) or e (BN, ReLU)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if network.unit == "preactivation":
        layers["bn"] = normalisation(network, channels)
    layers["relu"] = nn.ReLU(inplace=network.unit == "preactivation")  # in place on BN's output, never on the input
    return nn.Sequential(layers)


def residual(network: Architecture, inputs: int, width: int, stride: int) -> nn.Sequential:
    """Returns F without what precedes and follows it, children conv1, bn1, relu1, conv2, ...

    Basic (Fig. 5 left): 3x3, 3x3. Bottleneck (right): 1x1, 3x3, 1x1. Shapes: see `block`.
    """
    if network.block == "basic":
        shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
    else:
        on_1x1, on_3x3 = (stride, 1) if network.stride_on == "1x1" else (1, stride)
        shapes = [(inputs, width, 1, on_1x1), (width, width, 3, on_3x3), (width, EXPANSION * width, 1, 1)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (entering, leaving, kernel, step) in enumerate(shapes, start=1):
        last = i == len(shapes)
        layers[f"conv{i}"] = convolution(network, entering, leaving, kernel, step, end=last)
        if not last or network.unit in ("original", "relu-before-addition", "relu-only-preactivation"):
            layers[f"bn{i}"] = normalisation(network, leaving)
        if not last or network.unit == "relu-before-addition":
            layers[f"relu{i}"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def shortcut(network: Architecture, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Returns the shortcut h, or None in a plain network. Shapes as F's."""
    if network.shortcut == "none":
        return None
    same = inputs == outputs and stride == 1
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if network.shortcut == "C" or (network.shortcut == "B" and inputs != outputs):  # projection, Eqn. 2
        layers["conv"] = convolution(network, inputs, outputs, 1, stride, end=True)
        if network.unit not in ("bn-after-addition", "preactivation"):  # there, the BN after the addition normalises
            layers["bn"] = normalisation(network, outputs)
    elif not same:
        layers["padding"] = Padding(outputs - inputs, stride)
    if network.shortcut_dropout > 0:
        layers["dropout"] = nn.Dropout(network.shortcut_dropout)
    return nn.Sequential(layers) if layers else nn.Identity()


def addition(network: Architecture, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Returns what weighs the two branches, or None where they are added as they are."""
    if network.gate != "none":
        return Gated(network.gate, inputs, outputs, stride, network.gate_bias)
    scales = (network.residual_scale, network.shortcut_scale)
    return None if scales == (1.0, 1.0) else Scaled(*scales)


def after_addition(network: Architecture, outputs: int) -> nn.Module:
    """Returns what follows the addition."""
    if network.unit == "bn-after-addition":
        layers: list[tuple[str, nn.Module]] = [("bn", normalisation(network, outputs)), ("relu", nn.ReLU(inplace=True))]
        return nn.Sequential(OrderedDict(layers))
    return nn.ReLU(inplace=True) if network.unit == "original" else nn.Identity()


def block(network: Architecture, inputs: int, width: int, stride: int, *, first: bool) -> Block:
    """Returns a block, (N, inputs, H, W) -> (N, outputs, H / stride, W / stride).

    `outputs` is `width`, of a bottleneck 4 times that. The activation of the network's `first` block is "right after
    conv1, and before splitting into two paths" (2016, Sec. 4.1), so h starts from it; and so, as in the authors' code,
    does every projection.
    """
    outputs = width if network.block == "basic" else EXPANSION * width
    projects = network.shortcut == "C" or (network.shortcut == "B" and inputs != outputs)
    in_stem = first and network.first_activation == "conv1"
    return Block(
        activation(network, inputs) if network.preactivated and not in_stem else nn.Identity(),
        residual(network, inputs, width, stride),
        shortcut(network, inputs, outputs, stride),
        addition(network, inputs, outputs, stride),
        after_addition(network, outputs),
        shared=network.preactivated and (first or projects),
    )
