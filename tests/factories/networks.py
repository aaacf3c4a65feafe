"""Networks: one whose every value can be computed by hand, one of every kind, and any with random statistics."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from resnet.architectures import ARCHITECTURES, Architecture
from resnet.in_memory_data import Batch
from resnet.network import Network, build, initialise

ONE = Architecture(stem="cifar", block="basic", blocks=(1,), width=1, shortcut="A", bn_epsilon=1e-12)
PIXELS = [-1.0, 0.0, 0.25, 1.0, 2.0]  # one image each
CONVOLUTIONS = ["conv1.conv", "conv2_x.0.residual.conv1", "conv2_x.0.residual.conv2"]


def one() -> tuple[Network, list[Batch]]:
    """Images of one pixel x, of which a convolution sees its middle weight alone.

    Stem: r = relu((2x - 1) / 2). F: 2 * 3 relu(1 - r). Scores: 0 and y - 2, so the answer is 1 where y > 2.
    """
    built = build(ONE, classes=2, channels=1).double().eval()
    state = built.state_dict()
    for name, middle in zip(CONVOLUTIONS, (2.0, -1.0, 3.0), strict=True):
        state[f"{name}.weight"].copy_(torch.full((1, 1, 3, 3), 7.0)).select(2, 1).select(2, 1).fill_(middle)
    changes = {
        "conv1.bn.running_mean": 1.0, "conv1.bn.running_var": 4.0,
        "conv2_x.0.residual.bn1.bias": 1.0, "conv2_x.0.residual.bn2.weight": 2.0,
    }  # fmt: skip
    for name, value in changes.items():
        state[name].fill_(value)
    state["head.fc.weight"].copy_(torch.tensor([[0.0], [1.0]]))
    state["head.fc.bias"].copy_(torch.tensor([0.0, -2.0]))
    images = torch.tensor(PIXELS, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return built, [(images, torch.tensor([0, 1, 1, 1, 0]))]


SMALL = Architecture(stem="cifar", block="basic", blocks=(2, 2), width=4, shortcut="A")
KINDS = {
    "plain": replace(SMALL, shortcut="none"),
    "A": SMALL,
    "B": replace(SMALL, shortcut="B"),
    "C": replace(SMALL, shortcut="C"),
    "bottleneck": replace(SMALL, block="bottleneck", shortcut="B"),
    "plain bottleneck": replace(SMALL, block="bottleneck", shortcut="none"),
    "pre-activation": replace(SMALL, unit="preactivation", shortcut="B"),
    "plain pre-activation": replace(SMALL, unit="preactivation", shortcut="none"),
    "BN after addition": replace(SMALL, unit="bn-after-addition"),
    "ReLU before addition": replace(SMALL, unit="relu-before-addition"),
    "ReLU-only pre-activation": replace(SMALL, unit="relu-only-preactivation"),
    "scaled": replace(SMALL, shortcut_scale=0.5, residual_scale=0.7),
    "gated": replace(SMALL, gate="exclusive", gate_bias=-1.0),
    "dropout": replace(SMALL, shortcut_dropout=0.5),
    "7x7 stem": replace(SMALL, stem="imagenet"),
    "Keras": replace(ARCHITECTURES["keras-resnet50"], stem="cifar", width=4, blocks=(2, 2)),
    "Keras V2": replace(ARCHITECTURES["keras-resnet50v2"], stem="cifar", width=4, blocks=(2, 2)),
}


def disturb(network: nn.Module, seed: int = 0) -> None:
    """Draws biases and all of batch normalisation."""
    generator = torch.Generator().manual_seed(seed)

    def around(tensor: Tensor | None, middle: float, spread: float) -> None:
        assert tensor is not None
        tensor.copy_(middle + spread * torch.randn(tensor.shape, generator=generator).clamp(-2, 2))

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                around(module.weight, 1.0, 0.2)
                around(module.bias, 0.0, 0.2)
                around(module.running_mean, 0.0, 0.2)
                around(module.running_var, 1.0, 0.3)
                assert module.num_batches_tracked is not None
                module.num_batches_tracked.fill_(17)
            elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                around(module.bias, 0.0, 0.5)


def drawn(network: Architecture, images: int = 40, size: int = 6) -> tuple[Network, list[Batch]]:
    """A network in float64 whose every number is drawn, running statistics too, and images with drawn labels.

    Its logits are of about one, and its answers of all classes, so that errors move with whatever moves its scores.
    """
    built = build(network, classes=3, channels=2).double()
    initialise(built, seed=1)
    disturb(built, seed=2)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(images, 2, size, size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        built.get_parameter("head.fc.bias").sub_(built.eval()(x).mean(dim=0))
        largest = built(x).abs().max()
        for name in ("weight", "bias"):
            built.get_parameter(f"head.fc.{name}").div_(largest)
    return built, [(x, torch.randint(0, 3, (images,), generator=generator))]
