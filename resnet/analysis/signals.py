"""The spread of a network's signals, forward and backward, layer by layer: Fig. 7 and Sec. 4.1."""

from collections.abc import Iterable
from itertools import pairwise

from torch import nn

from resnet.analysis.hooks import restored, watched
from resnet.gradients import convolutions
from resnet.in_memory_data import Batch
from resnet.network import Network


def responses(network: Network, batches: Iterable[Batch]) -> dict[str, float]:
    """Returns the standard deviations of Fig. 7, of the 3x3 layers' outputs "after BN and before other nonlinearity".

    They are over images, channels and positions, in evaluation mode. Keys are the convolutions' names in the state dict
    without `.weight`, in the order of the forward pass: both convolutions of a basic block, the middle one of a
    bottleneck, and the first convolution of the CIFAR family, which is 3x3 too. Where no BN directly follows a
    convolution (the last of a pre-activation unit, and of one with BN after the addition), its own output counts.
    """
    with restored(network), watched(_layers(network)) as moments:
        network.eval()
        for images, _ in batches:
            network(images)
    return {name: of_layer.variance() ** 0.5 for name, of_layer in moments.items()}


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """Maps the name of each 3x3 convolution to the BN that directly follows it, or to itself."""
    found: dict[str, nn.Module] = {}
    for name, parent in network.named_modules():
        for (own, module), (_, following) in pairwise([*parent.named_children(), ("", nn.Identity())]):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                found[f"{name}.{own}"] = following if isinstance(following, nn.BatchNorm2d) else module
    return found


def variances(network: Network, batches: Iterable[Batch]) -> dict[str, float]:
    """Returns the variance of every convolution's output, before BN, over images, channels and positions.

    Names are those of `convolutions`. A network in training mode is normalised by the statistics of each batch, the
    only sensible way before it has been trained: then the sizes of batches count, a batch of one image, which has no
    statistics where a feature map is one pixel, is skipped, and dropout stays off. Running statistics do not change.
    """
    by_batch = network.training
    with restored(network), watched(convolutions(network)) as moments:
        network.eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(by_batch)
        for images, _ in batches:
            if len(images) > 1 or not by_batch:
                network(images)
    return {name: of_convolution.variance() for name, of_convolution in moments.items()}
