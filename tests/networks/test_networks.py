"""Networks: parity with torchvision's, the shortcut options of Sec. 4.1, and the initialisation of Sec. 3.4."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from resnet.architectures import ARCHITECTURES, Architecture, Shortcut
from resnet.blocks import Block, Padding
from resnet.network import build, initialise
from resnet.weights import from_torchvision, to_torchvision
from resnet.weights.torchvision import theirs as name_of

SMALL = Architecture(stem="cifar", block="basic", blocks=(1, 2, 1), width=4, shortcut="A")


def far(got: Tensor, expected: Tensor) -> float:
    """Relative distance; 0 for two zeros."""
    return float((got - expected).norm() / expected.norm().clamp_min(1e-300))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_torchvision(depth: int) -> None:
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=10).double()
    generator = torch.Generator().manual_seed(depth)
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
                assert module.running_mean is not None
                assert module.running_var is not None
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
            elif isinstance(module, nn.Conv2d | nn.Linear):
                spread = (1.0 / module.weight[0].numel()) ** 0.5
                module.weight.copy_(spread * torch.randn(module.weight.shape, generator=generator))
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


def test_option_a_in_a_network() -> None:
    """With F = 0 a residual network is its stem, subsampled and padded; so the shortcut reaches the end unchanged."""
    network = build(SMALL, 16, channels=1)
    initialise(network, seed=5)
    for module in network.modules():
        if isinstance(module, Block):
            nn.init.zeros_(module.residual.get_submodule("conv2").weight)  # type: ignore[arg-type]
    nn.init.eye_(network.get_submodule("head.fc").weight)  # type: ignore[arg-type]
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network.eval()
    stem = network.get_submodule("conv1")(images).detach()
    expected = torch.zeros(2, 16)
    for row in (0, 4):
        for column in (0, 4):
            expected[:, :4] += stem[:, :, row, column] / 4
    assert float(expected.min()) >= 0
    assert float(expected.max()) > 0.1
    torch.testing.assert_close(network(images).detach(), expected, rtol=0, atol=1e-6)


def shortcuts(network: Architecture) -> list[str]:
    return [
        "none"
        if block.shortcut is None
        else "+".join(name for name, _ in block.shortcut.named_children()) or "identity"
        for block in build(network, 10).modules()
        if isinstance(block, Block)
    ]


@pytest.mark.parametrize(
    ("option", "stage", "elsewhere"),
    [
        ("none", "none", "none"),
        ("A", "padding", "identity"),
        ("B", "conv+bn", "identity"),
        ("C", "conv+bn", "conv+bn"),
    ],
)
def test_where_projections_are(option: Shortcut, stage: str, elsewhere: str) -> None:
    """`stage`: where dimensions increase; a bottleneck's do so in conv2_x too (64 -> 256)."""
    same, rise = [elsewhere], [stage]
    basic = replace(ARCHITECTURES["resnet-18"], shortcut=option, width=4)
    assert shortcuts(basic) == same * 2 + (rise + same) * 3
    bottleneck = replace(ARCHITECTURES["resnet-50"], shortcut=option, width=4)
    assert shortcuts(bottleneck) == [n for blocks in (3, 4, 6, 3) for n in rise + same * (blocks - 1)]


@pytest.mark.parametrize(("stride_on", "first", "second"), [("1x1", 2, 1), ("3x3", 1, 2)])
def test_where_a_bottleneck_halves(stride_on: str, first: int, second: int) -> None:
    network = build(replace(ARCHITECTURES["resnet-50"], width=4, stride_on="1x1" if first == 2 else "3x3"), 10)
    strides = {
        name: [m.stride[0] for m in network.get_submodule(name).modules() if isinstance(m, nn.Conv2d)]
        for name in ("conv2_x.0.residual", "conv3_x.0.residual", "conv3_x.1.residual", "conv3_x.0.shortcut")
    }
    assert strides == {
        "conv2_x.0.residual": [1, 1, 1],
        "conv3_x.0.residual": [first, second, 1],
        "conv3_x.1.residual": [1, 1, 1],
        "conv3_x.0.shortcut": [2],
    }


def weights(network: Architecture, seed: int) -> dict[str, Tensor]:
    built = build(network, 10)
    initialise(built, seed)
    return built.state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


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


def test_initial_weights_come_from_the_seed_alone() -> None:
    first = weights(SMALL, seed=3)
    torch.manual_seed(99)
    torch.randn(7)
    assert equal(first, weights(SMALL, seed=3))
    other = weights(SMALL, seed=4)
    assert not any(torch.equal(first[name], other[name]) for name in first if first[name].dim() > 1)


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


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_one_channel(stem: str) -> None:
    network = replace(ARCHITECTURES["resnet-18"], width=4, stem="imagenet" if stem == "imagenet" else "cifar")
    built = build(network, 7, channels=1)
    assert built(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    with pytest.raises(RuntimeError, match="channels"):
        built(torch.zeros(2, 3, 32, 32))


def test_fields_are_replaced_by_name() -> None:
    network = build("resnet-50", classes=7, stride_on="3x3", width=8)
    assert network.architecture == replace(ARCHITECTURES["resnet-50"], stride_on="3x3", width=8)
    assert (network.classes, network.channels) == (7, 3)
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


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


def test_the_articles_example() -> None:
    """ResNet-101 on four images of 224x224 pixels."""
    assert build("resnet-101", classes=1000).eval()(torch.randn(4, 3, 224, 224)).shape == (4, 1000)
