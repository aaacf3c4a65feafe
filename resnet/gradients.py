"""The size of the loss's gradient in each convolution, which runs record (Sec. 4.1)."""

import torch
from torch import nn


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Returns the convolutions by their names in the state dict without `.weight`, in the order of the forward pass.

    Main path, projections and gates are included; in a block F's come first, then the shortcut's.
    """
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def gradient_norms(network: nn.Module) -> tuple[float, ...]:
    """Returns the L2 norm of the gradient of each convolution's weights, after a backward pass. Waits for the device.

    Norms are summed in float64, in which the squares of a nearly vanished gradient do not underflow.
    """
    gradients = [convolution.weight.grad for convolution in convolutions(network).values()]
    norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients if g is not None]
    assert len(norms) == len(gradients)  # there has been a backward pass
    return tuple(torch.stack(norms).tolist())
