"""Building blocks: Fig. 5 (basic, bottleneck) and the shortcut options A, B, C of Sec. 4.1."""

import torch.nn.functional as F
from torch import Tensor, nn

from resnet.architectures import Shortcut, StrideOn

EXPANSION = 4  # output channels of a bottleneck over the channels of its 3x3 convolution (Table 1)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution and "BN right after each convolution and before activation" (Sec. 3.4); so no bias."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs)


def basic(inputs: int, width: int, stride: int) -> nn.Sequential:
    """F of Fig. 5 left: 3x3, 3x3. (N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
    return nn.Sequential(
        *conv_bn(inputs, width, 3, stride),
        nn.ReLU(inplace=True),
        *conv_bn(width, width, 3, 1),
    )


def bottleneck(inputs: int, width: int, stride: int, stride_on: StrideOn) -> nn.Sequential:
    """F of Fig. 5 right: 1x1, 3x3, 1x1. (N, inputs, H, W) -> (N, 4 width, H / stride, W / stride)."""
    on_1x1, on_3x3 = (stride, 1) if stride_on == "1x1" else (1, stride)
    return nn.Sequential(
        *conv_bn(inputs, width, 1, on_1x1),
        nn.ReLU(inplace=True),
        *conv_bn(width, width, 3, on_3x3),
        nn.ReLU(inplace=True),
        *conv_bn(width, EXPANSION * width, 1, 1),
    )


class Padding(nn.Module):
    """Option A: identity, "with extra zero entries padded for increasing dimensions" and stride 2; no parameter."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def shortcut(option: Shortcut, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """The branch beside F, or None in a plain network. Shapes as F's."""
    same = inputs == outputs and stride == 1
    if option == "none":
        return None
    if option == "C" or (option == "B" and not same):  # projection, Eqn. 2
        return nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
    return nn.Identity() if same else Padding(outputs - inputs, stride)


class Block(nn.Module):
    """relu(F(x) + shortcut(x)), Eqn. 1 and 2; relu(F(x)) in a plain network."""

    def __init__(self, residual: nn.Module, beside: nn.Module | None) -> None:
        super().__init__()
        self.residual, self.shortcut = residual, beside

    def forward(self, x: Tensor) -> Tensor:
        y = self.residual(x)
        return F.relu(y if self.shortcut is None else y + self.shortcut(x), inplace=True)
