"""Made-up measurements from inside a network, for the made-up runs of report_maker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch

from pipeline.store.records import Analysis
from resnet.architectures import Architecture
from resnet.blocks import Block
from resnet.gradients import convolutions
from resnet.history import Gradient
from resnet.network import build

Scales = Mapping[str, float]  # row of params.yaml -> the value that stands in for that network's


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Typical values of each row's network; a row that is not named has roughly those of the paper."""

    responses: Scales = field(default_factory=dict)  # s.d. of the 3x3 layers
    variances_at_start: Scales = field(default_factory=dict)  # of the convolutions' outputs
    gradient_ratio: Scales = field(default_factory=dict)  # norm at the first convolution over that at the last
    lesions: Scales = field(default_factory=dict)  # points of error that leaving out a block adds
    noise: Scales = field(default_factory=dict)  # points of error that noise adds, per unit of its s.d.
    protocols: Mapping[str, float] = field(default_factory=dict)  # name -> points added to the error on the test split
    layer_spread: float = 0.05  # relative, from layer to layer and from seed to seed


@lru_cache
def layers(architecture: Architecture) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names of the convolutions, of the 3x3 layers among them, and of the blocks that can be left out."""
    with torch.device("meta"):
        network = build(architecture, 10)
    found = convolutions(network)
    blocks = [name for name, module in network.named_modules() if isinstance(module, Block)]
    if architecture.shortcut == "none":  # those that change the shape cannot
        keeps = architecture.block == "basic"
        blocks = [name for name in blocks if not name.endswith(".0") or (keeps and name == "conv2_x.0")]
    small = tuple(name for name, convolution in found.items() if convolution.kernel_size == (3, 3))
    return tuple(found), small, tuple(blocks)


def analysis(row: str, architecture: Architecture, error: float, inside: Inside, rng: np.random.Generator) -> Analysis:
    """`error` in per cent is that of the whole network."""
    names, small, blocks = layers(architecture)
    plain = architecture.shortcut == "none"
    response = inside.responses.get(row, 1.0 if plain else 0.5 * (20 / architecture.depth) ** 0.5)
    lesion = inside.lesions.get(row, 70.0 if plain else 100.0 / architecture.depth)
    slope = inside.noise.get(row, 100.0)

    def around(value: float) -> float:
        return value * float(np.exp(inside.layer_spread * rng.standard_normal()))

    return Analysis(
        images=250,
        responses={name: around(response) for name in small},
        variances_at_start={name: around(inside.variances_at_start.get(row, 2.0)) for name in names},
        variances={name: around(1.0) for name in names},
        lesions={name: min(90.0, error + around(lesion)) for name in blocks},
        noise={repr(s): min(90.0, error + around(slope * s)) for s in (0.0, 0.05, 0.1, 0.2, 0.4)},
    )


def gradients(
    row: str, architecture: Architecture, iterations: list[int], inside: Inside, rng: np.random.Generator
) -> list[Gradient]:
    """Norms that change by a constant factor from layer to layer and fall while the network learns."""
    count = len(layers(architecture)[0])
    along = inside.gradient_ratio.get(row, 1.0) ** (1 - np.arange(count) / max(1, count - 1))
    made = []
    for i in iterations:
        norms = 0.5 / (1 + i / 500) * along * np.exp(inside.layer_spread * rng.standard_normal(count))
        made.append(Gradient(i, tuple(norms.tolist())))
    return made
