"""How far the signals of a network spread, layer by layer: Fig. 7 and Sec. 4.1 ("non-zero variances")."""

from collections.abc import Iterable
from itertools import pairwise

from torch import nn

from resnet.analysis.watching import restored, watched
from resnet.data import Batch
from resnet.gradients import convolutions
from resnet.network import Network


def responses(network: Network, batches: Iterable[Batch]) -> dict[str, float]:
    """Fig. 7: standard deviation of the 3x3 layers' outputs "after BN and before other nonlinearity (ReLU/addition)".

    Over images, channels and positions, in evaluation mode. By the convolution's name in the state dict without
    `.weight`, in the order of the forward pass: both convolutions of a basic block, the middle one of a bottleneck, and
    the first convolution of the CIFAR family, which is 3x3 too. Where no BN stands right behind a convolution (the last
    of a pre-activation unit, and of one with BN behind the addition), it is the convolution's own output.
    """
    with restored(network), watched(_layers(network)) as moments:
        network.eval()
        for images, _ in batches:
            network(images)
    return {name: of_layer.variance() ** 0.5 for name, of_layer in moments.items()}


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """Name of each 3x3 convolution -> the BN right behind it, or itself."""
    found: dict[str, nn.Module] = {}
    for name, parent in network.named_modules():
        for (own, module), (_, behind) in pairwise([*parent.named_children(), ("", nn.Identity())]):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                found[f"{name}.{own}"] = behind if isinstance(behind, nn.BatchNorm2d) else module
    return found


def variances(network: Network, batches: Iterable[Batch]) -> dict[str, float]:
    """Variance of every convolution's output, before BN, over images, channels and positions.

    By name as in `responses`; of the main path, projections and gates. A network in training mode is normalised by the
    statistics of each batch, which is the only sensible way before it has been trained: then the batches' sizes count,
    a batch of one image, which has no statistics where a feature map is one pixel, is passed over, and nothing is
    dropped from shortcuts. Running statistics are as before afterwards.
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
