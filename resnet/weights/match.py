"""Checks whether tensors fit a network, and says where they first differ."""

from collections.abc import Mapping

import torch
from torch import Tensor

from resnet.architectures import Architecture
from resnet.network import Network, build

SHOWN = 3  # differences that a message names


class WrongWeights(ValueError):
    """Raised for tensors that are not those of the network. The text names the first that differ."""


def fill(architecture: Architecture, classes: int, channels: int, tensors: Mapping[str, Tensor], what: str) -> Network:
    """Returns the network with these tensors, by our names, in their own type of float.

    Raises WrongWeights, whose text begins with `what`.
    """
    with torch.device("meta"):
        network = build(architecture, classes, channels)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    compare(expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, what)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def compare(expected: Mapping[str, tuple[int, ...]], got: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Raises WrongWeights with the first names and shapes in which `got` is not `expected`."""
    found = [f"{name}: missing, expected {_shape(shape)}" for name, shape in expected.items() if name not in got]
    found += [f"{name}: unknown, {_shape(shape)}" for name, shape in got.items() if name not in expected]
    found += [
        f"{name}: {_shape(got[name])}, expected {_shape(shape)}"
        for name, shape in expected.items()
        if name in got and got[name] != shape
    ]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise WrongWeights(f"{what}: {'; '.join(found[:SHOWN])}{more}")


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
