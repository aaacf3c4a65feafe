"""Noise depends on seed and place alone; measuring leaves no trace; the size of batches decides nothing."""

import math
from collections.abc import Callable, Iterator
from statistics import pvariance
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resnet.analysis import STRENGTHS, lesions, noise, responses, variances
from resnet.analysis.noisy_inputs import normal
from resnet.data import Batch
from resnet.evaluation import evaluate
from resnet.network import Network
from tests.analysis_maker import KINDS, PIXELS, SMALL, drawn, one

# Noise


def test_noise_is_a_function_of_seed_and_place() -> None:
    like = torch.zeros(40, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    whole = normal(7, range(40), like)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    parts = [normal(7, range(start, start + 8), like[:8]) for start in range(0, 40, 8)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(normal(7, range(40), torch.zeros(40, 3, 4, 5)), whole)
    assert not torch.equal(normal(8, range(40), like), whole)
    assert len(torch.unique(whole)) > 0.999 * whole.numel()


def test_noise_is_standard_normal() -> None:
    values = normal(0, range(1000), torch.zeros(1000, 1, 8, 8, dtype=torch.float64)).flatten().numpy()
    n = len(values)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # variances of the powers
        assert float((values**power).mean()) == pytest.approx(moment, abs=5 * math.sqrt(spread / n))
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5 / math.sqrt(n)


def test_noise_is_the_same_for_every_version_of_numpy() -> None:
    values = normal(2015, range(3, 4), torch.zeros(1, 1, 1, 3, dtype=torch.float64)).flatten().tolist()
    assert values == pytest.approx([0.6076711809998936, -0.49222587960752934, -0.8095460249233114], abs=1e-12)


def test_strengths_are_text_and_without_noise_it_is_the_error() -> None:
    network, batches = drawn(SMALL)
    found = noise(network, batches, seed=1)
    assert list(found) == ["0.0", "0.05", "0.1", "0.2", "0.4"] == [repr(s) for s in STRENGTHS]
    assert found["0.0"] == evaluate(network, batches).top1_percent
    assert noise(network, batches, seed=1, strengths=(0.4,)) == {"0.4": found["0.4"]}


# No trace, and no matter how the images come

Measurement = Callable[[Network, Any], dict[str, float]]
MEASURES: dict[str, Measurement] = {
    "responses": responses, "variances": variances, "lesions": lesions, "noise": lambda n, b: noise(n, b, seed=1),
}  # fmt: skip


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def trace(network: Network) -> tuple[list[Tensor], list[bool], int, bool]:
    tensors = [tensor.clone() for tensor in network.state_dict().values()]
    graph = any(parameter.grad is not None or not parameter.requires_grad for parameter in network.parameters())
    return tensors, [module.training for module in network.modules()], hooks(network), graph


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
    if interrupted:
        with pytest.raises(RuntimeError, match="no more images"):
            MEASURES[measure](network, batches())
    else:
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


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_spread_is_exact_far_from_zero(offset: float) -> None:
    """From sums of squares, little would be left of a variance beside a mean of millions."""
    network, [(images, labels)] = one()
    found = variances(network, [(images + offset, labels)])
    assert found["conv1.conv"] == pytest.approx(pvariance([2 * x for x in PIXELS]), rel=1e-9)
