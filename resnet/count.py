"""Parameters and multiply-adds of a network (Table 1: "FLOPs"; Table 6: "# params"), without its weights."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from resnet.architectures import Architecture
from resnet.network import build


@dataclass(frozen=True, slots=True)
class Count:
    parameters: int  # trained ones: the running statistics of batch normalisation are not among them
    multiply_adds: int  # of convolutions and the classifier, in one forward pass of one image


def count(architecture: Architecture, *, classes: int, channels: int, size: int) -> Count:
    """Counted on an image of `size` x `size` pixels; nothing is allocated and nothing is computed."""
    with torch.device("meta"):
        network = build(architecture, classes, channels).eval()
        image = torch.empty(1, channels, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return Count(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)
