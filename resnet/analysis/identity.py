"""The construction of Sec. 1: a deeper plain network that is a trained shallower one followed by identity layers.

"There exists a solution by construction to the deeper model: the added layers are identity mapping, and the other
layers are copied from the learned shallower model."
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from resnet.architectures import Architecture, same_but
from resnet.evaluation import wrong
from resnet.history import IdentityCopy
from resnet.in_memory_data import Batch
from resnet.network import Network, build


def extends(deeper: Architecture, shallower: Architecture) -> bool:
    """Whether `deepened` can build `deeper` from a network of the architecture `shallower`.

    Inserted layers can be the identity where a block has as many channels inside as outside and only sees what a ReLU
    left: plain networks of basic blocks, with the activation at the end of each.
    """
    buildable = (shallower.shortcut, shallower.block, shallower.unit, shallower.stride_in)
    if buildable != ("none", "basic", "original", "first") or not same_but(shallower, deeper, "blocks"):
        return False
    if len(shallower.blocks) != len(deeper.blocks) or shallower.blocks == deeper.blocks:
        return False
    return all(own <= new for own, new in zip(shallower.blocks, deeper.blocks, strict=True))


def deepened(network: Network, blocks: tuple[int, ...]) -> Network:
    """Returns the network with `blocks` blocks a stage whose logits in evaluation mode are those of `network`.

    A stage keeps its own blocks; those added after them have Dirac kernels and batch normalisation that changes
    nothing. Raises ValueError where `extends` says no.
    """
    deeper = replace(network.architecture, blocks=blocks)
    if not extends(deeper, network.architecture):
        raise ValueError(f"no identity layers make blocks {blocks} of {network.architecture}")
    like = next(network.parameters())
    with torch.device("meta"):  # no weights are drawn
        built = build(deeper, network.classes, network.channels).to(like.dtype)
    built.to_empty(device=like.device)
    built.load_state_dict(network.state_dict(), strict=False)  # what is missing are the added blocks
    for stage, own in enumerate(network.architecture.blocks, start=2):
        for block in list(built.get_submodule(f"conv{stage}_x").children())[own:]:
            _make_identity(block)
    return built.to(memory_format=torch.channels_last).eval()


def _make_identity(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()  # mean 0, gamma 1, beta 0 ...
            assert module.running_var is not None
            module.running_var.fill_(1 - module.eps)  # ... and a division by sqrt(variance + eps) = 1


@torch.inference_mode()
def copies(network: Network, deeper: Iterable[tuple[int, ...]], batches: Iterable[Batch]) -> list[IdentityCopy]:
    """Compares `network`, in evaluation mode, with the deeper networks built from it, by their blocks a stage."""
    built = [deepened(network, blocks) for blocks in deeper]
    missed, differences = torch.zeros(2, len(built), dtype=torch.float64)
    scale, images = 0.0, 0
    for x, labels in batches if built else ():
        logits = network(x)
        scale, images = max(scale, float(logits.abs().max())), images + len(labels)
        for i, one in enumerate(built):
            scores = one(x)
            missed[i] += wrong(scores, labels, 1).cpu()
            differences[i] = torch.maximum(differences[i], (scores - logits).abs().max().cpu())
    return [
        IdentityCopy(one.architecture.blocks, 100.0 * float(errors) / images, float(difference), scale)
        for one, errors, difference in zip(built, missed, differences, strict=True)
    ]
