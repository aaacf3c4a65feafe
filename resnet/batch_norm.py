"""Batch normalisation after training: its statistics estimated anew, or the whole of it folded into convolutions."""

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

N = TypeVar("N", bound=nn.Module)


def reestimated(network: N, batches: Iterable[Tensor]) -> N:
    """A copy whose running statistics are means over these batches of training images, (N, C, H, W) each.

    The running averages of training follow weights that were still changing. The authors' are "strictly computed using
    average (not moving average) on a sufficiently large training batch after the training procedure" (the page of
    their released models; facebook/fb.resnet.torch#43). Each layer takes the mean of the batches' means and of their
    unbiased variances, while the layers before it normalise by the batch, as in training. Batches count alike, so they
    should have one size. Dropout stays off. Raises ValueError where there is no batch.
    """
    other = copy.deepcopy(network).eval()
    layers = [module for module in other.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's sign for a cumulative mean
        layer.train()
    seen = 0
    with torch.no_grad():
        for images in batches:
            other(images)
            seen += 1
    if seen == 0:
        raise ValueError("batch normalisation needs at least one batch of training images, got none")
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return other.train(network.training)


def folded(network: N) -> N:
    """A copy for inference: each batch normalisation directly behind a convolution becomes part of it, channels last.

    The same function of the images up to rounding. One that stands before its convolution, or behind an addition (He
    et al. 2016), stays. The copy has other parameters than its architecture says: it is not to be trained or saved.
    """
    other = copy.deepcopy(network).eval()
    for module in list(other.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    return other.to(memory_format=torch.channels_last)


def _fold(layers: nn.Sequential) -> None:
    for (name, layer), (name_behind, behind) in pairwise(list(layers.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(behind, nn.BatchNorm2d):
            kind = layer.weight.dtype
            fused = fuse_conv_bn_eval(layer.double(), behind.double())  # one rounding, at the end
            setattr(layers, name, fused.to(kind))
            setattr(layers, name_behind, nn.Identity())
