"""Parameters and multiply-adds, counted layer by layer without weights (Table 1: "FLOPs"; Table 6: "# params")."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from resnet.architectures import Architecture
from resnet.network import Head, build


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution, batch normalisation or fully-connected layer."""

    name: str  # as in the network's state dict
    output: tuple[int, ...]  # (C, H, W), or (C,) after the pooling
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, slots=True)
class Count:
    """The layers of a network with their costs in one forward pass of one image."""

    layers: tuple[Layer, ...]  # in the order in which they compute

    @property
    def parameters(self) -> int:
        """The number of trained parameters, without the running statistics of batch normalisation."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of convolutions and fully-connected layers."""
        return sum(layer.multiply_adds for layer in self.layers)


def count(network: str | Architecture, *, classes: int, channels: int = 3, size: int, **fields: Any) -> Count:
    """Counts on an image of `size` x `size` pixels. Weights take no memory, and layers with weights compute nothing.

    `fields` replace those of the architecture. Raises ValueError as `build` does.
    """
    return count_of(lambda: build(network, classes, channels, **fields), channels=channels, size=size)


def count_of(make: Callable[[], nn.Module], *, channels: int, size: int) -> Count:
    """Counts the network that `make` returns; it is called where tensors have no memory.

    Operations between the layers, such as a ReLU or the sum of two branches, do compute, on zeros: for tensors without
    memory torch would import its compiler, which takes seconds.
    """
    with torch.device("meta"):
        network = make().eval()
    image = torch.zeros(1, channels, size, size)
    layers: list[Layer] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.register_forward_hook(_noting(name, layers))
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear | Head):
            module.forward = partial(_shaped, module)  # type: ignore[method-assign]
    with torch.no_grad():
        network(image)
    return Count(tuple(layers))


def _shaped(module: nn.Module, x: Tensor) -> Tensor:
    """Returns zeros in the shape of the layer's output."""
    match module:
        case Head():
            logits: Tensor = module.fc(x[:, :, 0, 0])
            return logits
        case nn.Linear():
            return x.new_zeros(*x.shape[:-1], module.out_features)
        case nn.Conv2d():
            assert module.dilation == (1, 1)
            assert not isinstance(module.padding, str)
            around = zip(x.shape[2:], module.kernel_size, module.stride, module.padding, strict=True)
            return x.new_zeros(len(x), module.out_channels, *((n + 2 * p - k) // s + 1 for n, k, s, p in around))
    return x


def _noting(name: str, layers: list[Layer]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        layers.append(Layer(name, tuple(output.shape[1:]), parameters, _multiply_adds(module, output)))

    return note


def _multiply_adds(module: nn.Module, output: Tensor) -> int:
    """Counts a filter's size for every output, a sum over one filter; biases and normalisation do not count."""
    if isinstance(module, nn.BatchNorm2d):
        return 0
    weight = module.weight
    assert isinstance(weight, Tensor)
    return output.numel() * weight[0].numel()
