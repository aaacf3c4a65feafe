"""Converts state dicts of torchvision's ResNets to networks and back."""

import re
from collections.abc import Mapping

from torch import Tensor

from resnet.architectures import ARCHITECTURES, Architecture, changed
from resnet.network import Network
from resnet.weights.match import WrongWeights, fill

DEPTHS = (18, 34, 50, 101, 152)
STEM = {"conv1": "conv1.conv", "bn1": "conv1.bn", "fc": "head.fc"}  # theirs -> ours, outside the blocks


def published(depth: int) -> Architecture:
    """Returns torchvision's network of that depth: projections where dimensions increase, stride on the 3x3."""
    return changed(ARCHITECTURES[f"resnet-{depth}"], {"shortcut": "B", "stride_on": "3x3"})


def ours(theirs: str) -> str | None:
    """Returns our name of their tensor: layer1.0.downsample.1.bias is conv2_x.0.shortcut.bn.bias. None for others."""
    match = re.fullmatch(r"layer([1-4])\.(\d+)\.(downsample\.[01]|(?:conv|bn)[1-3])\.(\w+)", theirs)
    if match is None:
        module, _, tensor = theirs.partition(".")
        return f"{STEM[module]}.{tensor}" if module in STEM else None
    stage, block, layer, tensor = match.groups()
    where = {"downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}.get(layer, f"residual.{layer}")
    return f"conv{int(stage) + 1}_x.{block}.{where}.{tensor}"


def theirs(name: str) -> str | None:
    """Returns their name of our tensor; None for one that they do not have."""
    match = re.fullmatch(r"conv([2-5])_x\.(\d+)\.(residual|shortcut)\.(\w+)\.(\w+)", name)
    if match is None:
        module, _, tensor = name.rpartition(".")
        back = {mine: other for other, mine in STEM.items()}
        return f"{back[module]}.{tensor}" if module in back else None
    stage, block, branch, layer, tensor = match.groups()
    where = layer if branch == "residual" else {"conv": "downsample.0", "bn": "downsample.1"}[layer]
    return f"layer{int(stage) - 1}.{block}.{where}.{tensor}"


def from_torchvision(state_dict: Mapping[str, Tensor]) -> Network:
    """Returns the network of a state dict of torchvision's resnet18 to resnet152; its shapes give depth and classes.

    Raises WrongWeights, with the first differing names and shapes, for anything else.
    """
    tensors = {ours(name) or name: tensor.detach().clone() for name, tensor in state_dict.items()}
    architecture = published(_depth(state_dict))
    fc, conv1 = tensors.get("head.fc.weight"), tensors.get("conv1.conv.weight")
    if fc is None or fc.dim() != 2 or conv1 is None or conv1.dim() != 4:
        raise WrongWeights("not a state dict of torchvision's ResNet: it has no matrix fc.weight or no conv1.weight")
    return fill(architecture, fc.shape[0], conv1.shape[1], tensors, "not torchvision's weights (in our names)")


def _depth(state_dict: Mapping[str, Tensor]) -> int:
    blocks = tuple(
        len({name.split(".")[1] for name in state_dict if name.startswith(f"layer{i}.")}) for i in range(1, 5)
    )
    kind = "bottleneck" if "layer1.0.conv3.weight" in state_dict else "basic"
    for depth in DEPTHS:
        named = ARCHITECTURES[f"resnet-{depth}"]
        if (named.blocks, named.block) == (blocks, kind):
            return depth
    known = ", ".join(f"resnet{depth}" for depth in DEPTHS)
    raise WrongWeights(f"not a state dict of torchvision's {known}: it has {kind} blocks {blocks} in layer1 to layer4")


def to_torchvision(network: Network) -> dict[str, Tensor]:
    """Returns the state dict that torchvision's network of the same depth loads. Raises WrongWeights if it has none."""
    if network.architecture not in map(published, DEPTHS):
        raise WrongWeights(
            f"torchvision has no such network: {network.architecture}; "
            "it has resnet-18 to resnet-152 with shortcut B and stride_on 3x3"
        )
    return {str(theirs(name)): tensor.detach() for name, tensor in network.state_dict().items()}
