"""What is measured inside networks: by hand on a network of one block, and on blocks of every kind."""

import math
from dataclasses import replace
from statistics import pstdev, pvariance
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from resnet.analysis import lesions, noise, responses, variances
from resnet.analysis.noisy_inputs import normal
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.blocks import Block
from resnet.evaluation import evaluate
from tests.analysis_maker import CONVOLUTIONS, KINDS, ONE, PIXELS, SMALL, drawn, one


def relu(x: float) -> float:
    return max(0.0, x)


R = [relu(x - 0.5) for x in PIXELS]  # what enters the block: 0, 0, 0, 0.5, 1.5


def test_responses_by_hand() -> None:
    """Behind BN; before the ReLU, which writes over it, and before the addition."""
    expected = [pstdev(x - 0.5 for x in PIXELS), pstdev(1 - r for r in R), pstdev(6 * relu(1 - r) for r in R)]
    found = responses(*one())
    assert list(found) == CONVOLUTIONS
    assert list(found.values()) == pytest.approx(expected, rel=1e-9)


def test_variances_of_a_trained_network_by_hand() -> None:
    expected = [pvariance([2 * x for x in PIXELS]), pvariance([-r for r in R]), pvariance([3 * relu(1 - r) for r in R])]
    found = variances(*one())
    assert list(found) == CONVOLUTIONS
    assert list(found.values()) == pytest.approx(expected, rel=1e-9)


def test_variances_in_training_mode_are_normalised_by_the_batch() -> None:
    """Not by the running statistics: those are still of no data when a network starts."""
    network, batches = one()

    def normalised(values: Any) -> Any:
        return (values - values.mean()) / values.std()

    stem = 2 * np.array(PIXELS)
    first = -np.maximum(0, normalised(stem))
    second = 3 * np.maximum(0, normalised(first) + 1)
    found = variances(network.train(), batches)
    assert list(found.values()) == pytest.approx([stem.var(), first.var(), second.var()], rel=1e-9)
    assert found != variances(network.eval(), batches)


def test_a_batch_of_one_image_has_no_statistics() -> None:
    network, [(images, labels)] = one()
    whole = variances(network.train(), [(images, labels)])
    assert variances(network, [(images, labels), (images[:1] + 9, labels[:1])]) == whole
    assert all(map(math.isnan, variances(network, [(images[:1], labels[:1])]).values()))


def test_lesions_and_noise_by_hand() -> None:
    """y = relu(6 relu(1 - r) + r) is 6, 6, 6, 3.5, 1.5: wrong for -1. Without F it is r, wrong for 0, 0.25 and 1."""
    network, batches = one()
    assert evaluate(network, batches).top1_percent == 20
    assert lesions(network, batches) == {"conv2_x.0": 60.0}
    found = noise(network, batches, seed=3, strengths=(0.0, 2.0))
    moved = [x + 2.0 * float(n) for x, n in zip(PIXELS, normal(3, range(5), batches[0][0]).flatten(), strict=True)]
    answers = [int(relu(6 * relu(1 - relu(x - 0.5)) + relu(x - 0.5)) > 2) for x in moved]
    missed = sum(a != label for a, label in zip(answers, [0, 1, 1, 1, 0], strict=True))
    assert found == {"0.0": 20.0, "2.0": 100.0 * missed / 5}
    assert 0 < missed < 5


def test_a_plain_block_is_replaced_by_the_identity() -> None:
    """Where it keeps the shape. y = 6 relu(1 - r) is 6, 6, 6, 3, 0: wrong for -1; without it y is r, as above."""
    network, batches = one(replace(ONE, shortcut="none"))
    assert evaluate(network, batches).top1_percent == 20
    assert lesions(network, batches) == {"conv2_x.0": 60.0}


# Which layers, and blocks of every kind


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (SMALL, ["conv1.conv", *(f"conv{k}_x.{i}.residual.conv{c}" for k in (2, 3) for i in (0, 1) for c in (1, 2))]),
        (KINDS["bottleneck"], ["conv1.conv", *(f"conv{k}_x.{i}.residual.conv2" for k in (2, 3) for i in (0, 1))]),
        (replace(SMALL, stem="imagenet", blocks=(1,)), ["conv2_x.0.residual.conv1", "conv2_x.0.residual.conv2"]),
    ],
    ids=["basic", "bottleneck", "7x7 is none"],
)
def test_the_3x3_layers(network: Architecture, names: list[str]) -> None:
    built, batches = drawn(network, size=8)
    found = responses(built, batches)
    assert list(found) == names
    assert min(found.values()) > 0


def test_a_network_of_the_paper_has_as_many_3x3_layers_as_its_figure() -> None:
    """Fig. 7 runs over 20, 56 and 110 layers: all but the classifier, which is none."""
    network = replace(ARCHITECTURES["cifar-resnet-56"], width=1)
    assert len(responses(*drawn(network, images=2))) == 55


@pytest.mark.parametrize(("unit", "own"), [("preactivation", True), ("bn-after-addition", True), ("original", False)])
def test_where_no_bn_follows_it_is_the_convolution_itself(unit: Any, own: bool) -> None:
    network, batches = drawn(replace(SMALL, unit=unit))
    spread, variance = responses(network, batches), variances(network, batches)
    for name in spread:
        behind_bn = spread[name] != pytest.approx(variance[name] ** 0.5, rel=1e-3)
        assert behind_bn == (not (own and name.endswith("conv2"))), name


def silenced(block: Block) -> None:
    """F = 0, by its last layer: another way to leave a block out."""
    with torch.no_grad():
        last = [m for m in block.residual.children() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)][-1]
        for parameter in last.parameters():
            parameter.zero_()


@pytest.mark.parametrize("kind", KINDS)
def test_lesions_are_errors_of_networks_without_the_block(kind: str) -> None:
    network, batches = drawn(KINDS[kind])
    found = lesions(network, batches)
    expected: dict[str, float] = {}
    for stage, blocks in network.named_children():
        for own in [name for name, child in blocks.named_children() if isinstance(child, Block)]:
            other, _ = drawn(KINDS[kind])
            block = other.get_submodule(f"{stage}.{own}")
            assert isinstance(block, Block)
            if block.shortcut is not None:
                silenced(block)
            elif own == "1" or (stage == "conv2_x" and KINDS[kind].block == "basic"):
                setattr(other.get_submodule(stage), own, nn.Identity())
            else:
                continue
            expected[f"{stage}.{own}"] = evaluate(other, batches).top1_percent
    assert found == expected
    assert len(found) == (4 if "plain" not in kind else 2 if "bottleneck" in kind else 3)
    assert len({*found.values(), evaluate(network, batches).top1_percent}) > 1
