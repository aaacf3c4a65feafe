"""What is measured inside networks: by hand, on blocks of every kind, and without a trace."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from statistics import pstdev, pvariance
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resnet.analysis import lesions, noise, responses, variances
from resnet.analysis.noisy_inputs import normal
from resnet.blocks import Block
from resnet.evaluation import evaluate
from resnet.in_memory_data import Batch
from resnet.network import Network
from tests.factories.networks import CONVOLUTIONS, KINDS, PIXELS, drawn, one

Measurement = Callable[[Network, Any], dict[str, float]]


def relu(x: float) -> float:
    return max(0.0, x)


R = [relu(x - 0.5) for x in PIXELS]  # what enters the block: 0, 0, 0, 0.5, 1.5


@pytest.mark.parametrize(
    ("measure", "expected"),
    [  # responses are those behind BN; before the ReLU, which writes over it, and before the addition
        (responses, [pstdev(x - 0.5 for x in PIXELS), pstdev(1 - r for r in R), pstdev(6 * relu(1 - r) for r in R)]),
        (variances, [pvariance([2 * x for x in PIXELS]), pvariance(R), pvariance([3 * relu(1 - r) for r in R])]),
    ],
)
def test_responses_and_variances_of_a_trained_network_by_hand(measure: Measurement, expected: list[float]) -> None:
    found = measure(*one())
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


@pytest.mark.parametrize(
    ("kind", "stem", "own"), [("A", True, (1, 2)), ("bottleneck", True, (2,)), ("7x7 stem", False, (1, 2))]
)
def test_the_3x3_layers(kind: str, stem: bool, own: tuple[int, ...]) -> None:
    found = responses(*drawn(KINDS[kind], size=8))
    layers = [f"conv{stage}_x.{i}.residual.conv{c}" for stage in (2, 3) for i in (0, 1) for c in own]
    assert list(found) == ["conv1.conv"] * stem + layers
    assert min(found.values()) > 0


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


def test_noise_is_a_function_of_seed_and_place() -> None:
    like = torch.zeros(40, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    whole = normal(7, range(40), like)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    parts = [normal(7, range(start, start + 8), like[:8]) for start in range(0, 40, 8)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(normal(7, range(40), torch.zeros(40, 3, 4, 5)), whole)
    assert not torch.equal(normal(8, range(40), like), whole)
    assert len(torch.unique(whole)) > 0.999 * whole.numel()


def test_noise_is_the_same_for_every_version_of_numpy() -> None:
    values = normal(2015, range(3, 4), torch.zeros(1, 1, 1, 3, dtype=torch.float64)).flatten().tolist()
    assert values == pytest.approx([0.6076711809998936, -0.49222587960752934, -0.8095460249233114], abs=1e-12)


MEASURES: dict[str, Measurement] = {
    "responses": responses, "variances": variances, "lesions": lesions, "noise": lambda n, b: noise(n, b, seed=1),
}  # fmt: skip


def trace(network: Network) -> tuple[list[Tensor], list[bool], int, bool]:
    tensors = [tensor.clone() for tensor in network.state_dict().values()]
    hooks = sum(len(module._forward_hooks) for module in network.modules())
    graph = any(parameter.grad is not None or not parameter.requires_grad for parameter in network.parameters())
    return tensors, [module.training for module in network.modules()], hooks, graph


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("mode", ["eval", "train", "mixed"])
@pytest.mark.parametrize("measure", MEASURES)
def test_a_network_is_left_as_it_was(measure: str, mode: str, interrupted: bool) -> None:
    network, [batch] = drawn(KINDS["dropout"])
    network.train(mode != "eval")
    if mode == "mixed":
        network.get_submodule("conv2_x.1").eval()
    network.get_submodule("conv1.bn").running_mean[0] = math.nan  # type: ignore[operator]
    before = trace(network)

    def batches() -> Iterator[Batch]:
        yield batch
        if interrupted:
            raise RuntimeError("no more images")

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no more images") if interrupted else nullcontext():
        MEASURES[measure](network, batches())
    after = trace(network)
    assert all(torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in zip(before[0], after[0], strict=True))
    assert after[1:] == before[1:]
    assert after[2:] == (0, False)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["A", "bottleneck", "pre-activation"])
@pytest.mark.parametrize("measure", MEASURES)
def test_the_size_of_the_batches_decides_nothing(measure: str, kind: str) -> None:
    network, [(images, labels)] = drawn(KINDS[kind], images=150)
    whole = MEASURES[measure](network, [(images, labels)])
    for size in (1, 64, 149):
        parts = zip(torch.split(images, size), torch.split(labels, size), strict=True)
        assert MEASURES[measure](network, parts) == pytest.approx(whole, rel=1e-10)


def test_spread_is_exact_far_from_zero() -> None:
    """From sums of squares, little would be left of a variance beside a mean of millions."""
    network, [(images, labels)] = one()
    found = variances(network, [(images + 1e6, labels)])
    assert found["conv1.conv"] == pytest.approx(pvariance([2 * x for x in PIXELS]), rel=1e-9)
