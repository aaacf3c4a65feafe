"""Networks in which every weight and statistic takes part in the logits, and the command `weights`."""

from pathlib import Path

import pytest
import torchvision
from torch import nn

from pipeline.__main__ import parser
from pipeline.errors import UserError
from pipeline.weights import convert
from resnet.architectures import Architecture
from resnet.network import Network, build, initialise
from tests.factories.networks import disturb

SMALL = Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="A")


def lively(architecture: Architecture, classes: int = 10, channels: int = 3, seed: int = 0) -> Network:
    """Returns a network with random biases, and batch normalisation far from the identity."""
    network = build(architecture, classes, channels)
    initialise(network, seed)
    disturb(network, seed)
    return network


def of_torchvision(depth: int) -> nn.Module:
    """Returns torchvision's network of that depth, disturbed."""
    network: nn.Module = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
    disturb(network, depth)
    return network


def run(*words: str | Path) -> None:
    """Runs `python -m pipeline weights WORDS` in this process."""
    convert.main(parser().parse_args(["weights", *map(str, words)]))


def refusal(*words: str | Path) -> str:
    """Returns the one line with which the command is refused."""
    with pytest.raises(UserError) as refused:
        run(*words)
    assert str(refused.value).isprintable()  # and so in one line
    assert refused.value.exit_code == 2
    return str(refused.value)
