"""He et al. 2016: the orders of Fig. 4 and the shortcuts of Fig. 2, against their formulas written out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resnet.architectures import Architecture, changed
from resnet.blocks import Block
from resnet.network import Network, build, initialise
from tests.factories.networks import disturb

SMALL = Architecture(stem="cifar", block="basic", blocks=(1, 2), width=4, shortcut="A")


def lively(**fields: Any) -> Network:
    """A small network in float64 whose batch normalisation does something."""
    network = build(changed(SMALL, fields), 3)
    initialise(network, seed=1)
    disturb(network, seed=2)
    return network.double().eval()


class ByHand:
    """The layers of a network by name, as functions."""

    def __init__(self, network: Network) -> None:
        self.tensors = network.state_dict()

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        return F.conv2d(x, weight, self.tensors.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def bn(self, name: str, x: Tensor) -> Tensor:
        weight, bias, mean, variance = (
            self.tensors[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        normalised: Tensor = (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias
        return normalised

    def skip(self, x: Tensor, stride: int) -> Tensor:
        """Option A."""
        return x if stride == 1 else torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], dim=1)

    def head(self, x: Tensor) -> Tensor:
        logits: Tensor = x.mean(dim=(2, 3)) @ self.tensors["head.fc.weight"].T + self.tensors["head.fc.bias"]
        return logits

    def unit(self, kind: str, block: str, x: Tensor, stride: int, *, first: bool) -> Tensor:
        """One column of Fig. 4, from top to bottom."""
        h, at = self.skip(x, stride), f"{block}.residual"
        if kind == "relu-only-preactivation":
            x = x.relu()
        if kind == "preactivation" and not first:
            x = self.bn(f"{block}.before.bn", x).relu()
        y = self.conv(f"{at}.conv2", self.bn(f"{at}.bn1", self.conv(f"{at}.conv1", x, stride)).relu())
        if kind == "preactivation":
            return y + h
        if kind == "bn-after-addition":
            return self.bn(f"{block}.after.bn", y + h).relu()
        y = self.bn(f"{at}.bn2", y)
        if kind == "relu-before-addition":
            return y.relu() + h
        return (y + h).relu() if kind == "original" else y + h

    def network(self, kind: str, x: Tensor) -> Tensor:
        x = self.bn("conv1.bn", self.conv("conv1.conv", x)).relu()
        x = self.unit(kind, "conv2_x.0", x, 1, first=True)
        x = self.unit(kind, "conv3_x.0", x, 2, first=False)
        x = self.unit(kind, "conv3_x.1", x, 1, first=False)
        if kind == "relu-only-preactivation":
            x = x.relu()
        if kind == "preactivation":
            x = self.bn("activation.bn", x).relu()
        return self.head(x)


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


IN_PLACE = {  # in how many of three blocks the sum overwrites F's output
    "original": 3,
    "bn-after-addition": 0,
    "relu-before-addition": 0,
    "relu-only-preactivation": 3,
    "preactivation": 0,
}


@pytest.mark.parametrize("unit", IN_PLACE)
def test_orders_of_fig_4(unit: str) -> None:
    network, x = lively(unit=unit), images()
    with torch.no_grad():
        torch.testing.assert_close(network(x), ByHand(network).network(unit, x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)  # nothing is changed in place


def test_projections_start_from_the_shared_activation() -> None:
    """As F does (2016, Sec. 4.1, and the authors' code)."""
    network = lively(unit="preactivation", shortcut="B")
    block = network.get_submodule("conv3_x.0")
    hand, x = ByHand(network), torch.randn(2, 4, 8, 8, dtype=torch.float64)
    activated = hand.bn("conv3_x.0.before.bn", x).relu()
    y = hand.bn("conv3_x.0.residual.bn1", hand.conv("conv3_x.0.residual.conv1", activated, 2)).relu()
    y = hand.conv("conv3_x.0.residual.conv2", y)
    expected = y + F.conv2d(activated, network.get_parameter("conv3_x.0.shortcut.conv.weight"), stride=2)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        {"shortcut_scale": 0.5},
        {"shortcut_scale": 0.5, "residual_scale": 0.25},
        {"gate": "exclusive", "gate_bias": -1.0},
        {"gate": "shortcut-only", "gate_bias": -1.0},
    ],
)
def test_scaled_and_gated_shortcuts_of_fig_2(fields: dict[str, Any]) -> None:
    network, x = lively(**fields), torch.randn(2, 4, 8, 8, dtype=torch.float64)
    hand, at = ByHand(network), "conv3_x.0.residual"
    y = hand.bn(f"{at}.bn1", hand.conv(f"{at}.conv1", x, 2)).relu()
    y, h = hand.bn(f"{at}.bn2", hand.conv(f"{at}.conv2", y)), hand.skip(x, 2)
    if "gate" in fields:
        g = torch.sigmoid(hand.conv("conv3_x.0.addition.conv", x, 2))
        assert 0 < float(g.min()) < float(g.max()) < 1
        expected = ((g * y if fields["gate"] == "exclusive" else y) + (1 - g) * h).relu()
    else:
        expected = (fields.get("residual_scale", 1.0) * y + fields["shortcut_scale"] * h).relu()
    torch.testing.assert_close(network.get_submodule("conv3_x.0")(x), expected, rtol=1e-12, atol=1e-12)


def test_a_gate_starts_with_its_bias() -> None:
    """2016, Table 1: "init b_g = -6"."""
    network = build("cifar-resnet-20", classes=10, gate="exclusive")
    initialise(network, seed=1)
    biases = [tensor for name, tensor in network.state_dict().items() if name.endswith("addition.conv.bias")]
    assert len(biases) == 9
    assert all(bool((bias == -6.0).all()) for bias in biases)


def test_dropout_on_the_shortcut() -> None:
    """Half of the shortcut's values in training, none in evaluation."""
    block = lively(shortcut_dropout=0.5).get_submodule("conv3_x.1")
    x = torch.ones(1, 8, 64, 64, dtype=torch.float64)
    assert torch.equal(block.get_submodule("shortcut")(x), x)
    dropped = block.train().get_submodule("shortcut")(x)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert float(dropped.mean()) == pytest.approx(1.0, abs=5 * (1 / x.numel()) ** 0.5)


def gradients(network: Network, *, in_place: bool) -> tuple[list[Tensor], int]:
    """After one backward pass, the logits first; and in how many blocks the sum is where F's output was."""
    outputs: list[int] = []
    summed: list[bool] = []
    for module in network.modules():
        if isinstance(module, Block):
            module.in_place &= in_place
            module.residual.register_forward_hook(lambda _, __, y: outputs.append(y.data_ptr()))
            module.after.register_forward_pre_hook(lambda _, y: summed.append(y[0].data_ptr() == outputs[-1]))
    logits = network.train()(images())
    torch.autograd.backward(F.cross_entropy(logits, torch.tensor([0, 1])))
    return [logits.detach(), *(p.grad for p in network.parameters() if p.grad is not None)], sum(summed)


@pytest.mark.parametrize("shortcut", ["A", "C"])
@pytest.mark.parametrize("unit", IN_PLACE)
def test_a_sum_in_place_changes_no_bit(unit: str, shortcut: str) -> None:
    new, there = gradients(lively(unit=unit, shortcut=shortcut), in_place=True)
    old, nowhere = gradients(lively(unit=unit, shortcut=shortcut), in_place=False)
    assert (there, nowhere) == (IN_PLACE[unit], 0)
    assert len(new) > 10
    assert all(torch.equal(a, b) for a, b in zip(new, old, strict=True))
