"""Networks: parity with torchvision's, the shortcut options of Sec. 4.1, and the initialisation of Sec. 3.4."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from resnet.architectures import ARCHITECTURES, Architecture
from resnet.blocks import Block, Padding
from resnet.network import build, initialise
from resnet.weights import from_torchvision, to_torchvision
from resnet.weights.torchvision import theirs as name_of
from tests.factories.networks import disturb
from tests.factories.tiny_run import equal

SMALL = Architecture(stem="cifar", block="basic", blocks=(1, 2, 1), width=4, shortcut="A")


def far(got: Tensor, expected: Tensor) -> float:
    """Relative distance; 0 for two zeros."""
    return float((got - expected).norm() / expected.norm().clamp_min(1e-300))


@pytest.mark.parametrize("depth", [18, 34, 50, *(pytest.param(d, marks=pytest.mark.slow) for d in (101, 152))])
def test_torchvision(depth: int) -> None:
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=10).double()
    generator = torch.Generator().manual_seed(depth)
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                spread = (1.0 / module.weight[0].numel()) ** 0.5
                module.weight.copy_(spread * torch.randn(module.weight.shape, generator=generator))
    disturb(theirs, depth)
    ours = from_torchvision(theirs.state_dict())
    assert (ours.architecture.depth, ours.classes) == (depth, 10)
    exported = to_torchvision(ours)
    assert list(exported) == list(theirs.state_dict())
    assert all(torch.equal(exported[name], tensor) for name, tensor in theirs.state_dict().items())
    images = torch.randn(3, 3, 64, 64, generator=generator, dtype=torch.float64)
    labels = torch.tensor([1, 7, 4])
    with torch.no_grad():
        assert far(ours.eval()(images), theirs.eval()(images)) < 1e-12
    for network in (ours.train(), theirs.train()):
        torch.autograd.backward(functional.cross_entropy(network(images), labels))
    gradients = {name_of(name): parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        mine = gradients[name]
        assert mine is not None
        assert float(mine.abs().max()) > 0, name
        assert far(mine, parameter.grad) < 1e-12, name
    after = to_torchvision(ours)
    for name, tensor in theirs.state_dict().items():
        assert far(after[name].double(), tensor.double()) < 1e-12, name


def test_option_a_by_hand() -> None:
    """Every second pixel from the first one on, then zero channels at the end."""
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    y = Padding(extra=2, stride=2)(x)
    zeros = [[0.0, 0.0], [0.0, 0.0]]
    assert y.tolist() == [[[[0.0, 2.0], [8.0, 10.0]], [[16.0, 18.0], [24.0, 26.0]], zeros, zeros]]


def test_initial_weights() -> None:
    """Zero mean, variance 2 / fan-in, within 5 standard errors of a normal sample; 1 and 0 for batch normalisation."""
    network = build(ARCHITECTURES["resnet-18"], 1000)
    initialise(network, seed=1)
    seen = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            values = module.weight.detach().double()
            n, expected = values.numel(), 2.0 / values[0].numel()
            assert float(values.var()) == pytest.approx(expected, rel=5 * (2.0 / n) ** 0.5)
            assert float(values.mean()) == pytest.approx(0.0, abs=5 * (expected / n) ** 0.5)
            assert module.bias is None or not module.bias.any()
            seen += 1
        elif isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all())
            assert not module.bias.any()
    assert seen == 18


def test_an_identity_start_passes_its_input_on_and_leaves_the_other_weights() -> None:
    network, he = (build(replace(SMALL, shortcut="none", initialisation=kind), 10) for kind in ("identity", "he"))
    for built in (network, he):
        initialise(built, seed=3)
    passed = 0
    for module, other in zip(network.modules(), he.modules(), strict=True):
        if isinstance(module, nn.Conv2d) and module.stride == (1, 1) and module.in_channels == module.out_channels:
            x = torch.randn(2, module.in_channels, 8, 8)
            assert torch.equal(module(x), x)
            passed += 1
        elif isinstance(module, nn.Conv2d | nn.Linear):
            assert torch.equal(module.weight, other.get_parameter("weight"))
    assert passed > 2


def test_plain_and_residual_differ_only_in_the_shortcut() -> None:
    plain, residual = build(replace(SMALL, shortcut="none"), 10), build(SMALL, 10)
    for network in (plain, residual):
        initialise(network, seed=3)
    assert equal(plain.state_dict(), residual.state_dict())
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(plain(images), residual(images))
    for module in residual.modules():
        if isinstance(module, Block):
            module.shortcut = None
    assert torch.equal(plain(images), residual(images))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("resnet-51", {}, "unknown network 'resnet-51', did you mean resnet-5"),
        ("resnet-50", {"stride_onn": "3x3"}, "no field 'stride_onn', did you mean stride_on"),
        ("resnet-50", {"stride_on": "5x5"}, "stride_on must be one of 1x1, 3x3, got '5x5'"),
        ("plain-34", {"gate": "exclusive"}, "gate belongs to a shortcut, but shortcut is none"),
        ("resnet-34", {"gate": "exclusive", "shortcut_scale": 0.5}, "exclude each other"),
        ("resnet-34", {"first_activation": "pool"}, "belongs to unit preactivation, but unit is original"),
        ("resnet-34", {"shortcut_dropout": float("nan")}, "shortcut_dropout must be from 0 to 0.99, got nan"),
    ],
)
def test_what_is_no_network_is_refused(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, classes=10, **fields)
