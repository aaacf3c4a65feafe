"""The contribution of a single block: the error without it."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet.analysis.hooks import restored
from resnet.blocks import Block
from resnet.evaluation import wrong
from resnet.in_memory_data import Batch
from resnet.network import Network


def lesions(network: Network, batches: Iterable[Batch]) -> dict[str, float]:
    """Measures top-1 errors in percent without one block, for each block, in evaluation mode; by the block's name.

    Without its F, a block is its shortcut (identity, padding or projection) and what follows the addition; what weighs
    the shortcut stays. A plain block that keeps the shape is replaced by the identity; one that changes it cannot be
    left out and is not in the result.
    """
    layers = _layers(network)
    missed: dict[str, Tensor] = {}
    total = 0
    with restored(network):
        network.eval()
        for images, labels in batches:
            x, total = images, total + len(labels)
            for i, (name, layer) in enumerate(layers):
                y = layer(x)
                if isinstance(layer, Block) and (layer.shortcut is not None or y.shape == x.shape):
                    scores = _through(layers[i + 1 :], _without(layer, x))
                    missed[name] = missed.get(name, 0) + wrong(scores, labels, 1)
                x = y
    return {name: 100.0 * int(errors) / total for name, errors in missed.items()}


def _layers(network: Network) -> list[tuple[str, nn.Module]]:
    """Returns the network as a sequence of named layers, each block one of them."""
    layers: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        blocks = [(f"{name}.{own}", block) for own, block in child.named_children() if isinstance(block, Block)]
        layers += blocks or [(name, child)]
    return layers


def _through(layers: list[tuple[str, nn.Module]], x: Tensor) -> Tensor:
    for _, layer in layers:
        x = layer(x)
    return x


def _without(block: Block, x: Tensor) -> Tensor:
    """Returns the block's output with zeros in place of F, or `x` where there is no shortcut."""
    if block.shortcut is None:
        return x
    hook = block.residual.register_forward_hook(lambda _, __, y: torch.zeros_like(y))
    try:
        without: Tensor = block(x)
    finally:
        hook.remove()
    return without
