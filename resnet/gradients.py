"""How large the loss's gradient is in each convolution: whether signals vanish on their way back (Sec. 4.1)."""

import torch
from torch import nn


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """By the names that the state dict has for them, without `.weight`; in the order of the forward pass.

    Those of the main path, projections and gates; of a block first F's, then the shortcut's.
    """
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def gradient_norms(network: nn.Module) -> tuple[float, ...]:
    """The norms by convolution, after a backward pass; steps of SGD leave the gradients as they are. Waits once.

    Summed in float64, in which the squares of a gradient that all but vanishes are not lost.
    """
    gradients = [convolution.weight.grad for convolution in convolutions(network).values()]
    held = [gradient for gradient in gradients if gradient is not None]
    assert len(held) == len(gradients)  # there has been a backward pass
    return tuple(torch.stack(torch._foreach_norm(held, 2.0, torch.float64)).tolist())
