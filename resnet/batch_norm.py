"""Batch normalisation after training: statistics estimated again, or the layer folded into a convolution."""

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

N = TypeVar("N", bound=nn.Module)


def reestimated(network: N, batches: Iterable[Tensor]) -> N:
    """Returns a copy whose running statistics are means over these batches of training images, (N, C, H, W) each.

    The running averages of training follow weights that were still changing. The authors' are "strictly computed using
    average (not moving average) on a sufficiently large training batch after the training procedure" (the page of
    their released models; facebook/fb.resnet.torch#43). Each layer takes the mean of the batches' means and of their
    unbiased variances, while the layers before it normalise by the batch, as in training. Batches count equally: give
    them one size. Dropout stays off. Raises ValueError where there is no batch.
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
    """Returns a copy for inference: batch normalisation directly after a convolution becomes part of it; channels last.

    It is the same function of the images up to rounding. Batch normalisation before a convolution, or after an addition
    (He et al. 2016), stays. The copy no longer has the parameters of its architecture: do not train or save it.
    """
    other = copy.deepcopy(network).eval()
    for module in list(other.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    return other.to(memory_format=torch.channels_last)


def _fold(layers: nn.Sequential) -> None:
    for (name, layer), (next_name, following) in pairwise(list(layers.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            kind = layer.weight.dtype
            fused = fuse_conv_bn_eval(layer.double(), following.double())  # one rounding, at the end
            setattr(layers, name, fused.to(kind))
            setattr(layers, next_name, nn.Identity())
