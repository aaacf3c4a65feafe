"""Networks whose every weight and statistic takes part in the logits, the command line, and a canary for pickles."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.weights.__main__ import main
from resnet.architectures import Architecture
from resnet.network import Network, build, initialise

LINE_18 = (
    "resnet-18 with shortcut=B, 10 classes, 11,181,642 parameters, 1,813,566,464 multiply-adds at 224 pixels; {}\n"
)
SMALL = Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="A")


def lively(architecture: Architecture, classes: int = 10, channels: int = 3, seed: int = 0) -> Network:
    """Random biases, and batch normalisation far from the identity."""
    network = build(architecture, classes, channels)
    initialise(network, seed)
    disturb(network, seed)
    return network


def disturb(network: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)

    def around(tensor: Tensor | None, middle: float, spread: float) -> None:
        assert tensor is not None
        tensor.copy_(middle + spread * torch.randn(tensor.shape, generator=generator).clamp(-2, 2))

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                around(module.weight, 1.0, 0.2)
                around(module.bias, 0.0, 0.2)
                around(module.running_mean, 0.0, 0.2)
                around(module.running_var, 1.0, 0.3)
                assert module.num_batches_tracked is not None
                module.num_batches_tracked.fill_(17)
            elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                around(module.bias, 0.0, 0.5)


def theirs(depth: int) -> nn.Module:
    network: nn.Module = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
    disturb(network, depth)
    return network


def run(*arguments: str | Path) -> None:
    main([str(argument) for argument in arguments])


def refusal(*arguments: str | Path) -> str:
    with pytest.raises(UserError) as refused:
        run(*arguments)
    message = str(refused.value)
    assert message.isprintable()  # and so in one line
    assert refused.value.exit_code == 2
    return message


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.canary),)
