"""Batch normalisation after training: estimated anew against sums by hand, folded against the network as it was."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from resnet.architectures import ARCHITECTURES, Architecture
from resnet.batch_norm import folded, reestimated
from resnet.network import Network, build, initialise

SMALL = Architecture(stem="imagenet", block="basic", blocks=(2, 1), width=4, shortcut="B")
NARROW = replace(ARCHITECTURES["resnet-50"], blocks=(2, 2), width=4)
V2 = replace(NARROW, unit="preactivation")
KERAS, KERAS_V2 = (replace(ARCHITECTURES[f"keras-resnet50{version}"], blocks=(2, 2), width=4) for version in ("", "v2"))
FOLDED: dict[str, tuple[Architecture, int]] = {  # how many batch normalisations are left
    "plain": (replace(SMALL, shortcut="none"), 0),
    "A": (replace(SMALL, shortcut="A"), 0),
    "C": (replace(SMALL, shortcut="C"), 0),
    "bottleneck": (NARROW, 0),
    "3x3 stem": (replace(NARROW, stem="cifar", stride_on="3x3"), 0),
    "gates": (replace(SMALL, gate="exclusive"), 0),
    "BN after addition": (replace(SMALL, unit="bn-after-addition"), 3),  # one a block
    "ReLU before addition": (replace(SMALL, unit="relu-before-addition"), 0),
    "ReLU-only pre-activation": (replace(SMALL, unit="relu-only-preactivation"), 0),
    "pre-activation": (V2, 4),  # before each block but the first, whose own is the stem's; and before the head
    "Keras": (KERAS, 0),
    "Keras V2": (KERAS_V2, 5),
}


def trained(architecture: Architecture, kind: torch.dtype = torch.float32) -> Network:
    """Every number of it drawn, and logits of about one."""
    network = build(architecture, 10)
    initialise(network, 3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                for tensor in (module.weight, module.running_var):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.copy_(0.3 * torch.randn(module.bias.shape, generator=generator))
        head = network.get_submodule("head.fc")
        assert isinstance(head, nn.Linear)
        head.weight.div_(network.eval()(images(16)).abs().max())
    return network.to(kind)


def images(number: int, seed: int = 1) -> Tensor:
    return torch.randn(number, 3, 40, 56, generator=torch.Generator().manual_seed(seed))


def normalisations(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


@pytest.mark.parametrize("case", FOLDED)
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_folded_is_the_same_function(case: str, kind: torch.dtype, tolerance: float) -> None:
    architecture, left = FOLDED[case]
    network = trained(architecture, kind).train()
    before = copy.deepcopy(network.state_dict())
    quick = folded(network)
    assert len(normalisations(quick)) == left < len(normalisations(network))
    assert not quick.training
    with torch.no_grad():
        expected, got = copy.deepcopy(network).eval()(images(16).to(kind)), quick(images(16).to(kind))
    assert 0.1 < float(expected.abs().max()) < 10
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)
    assert torch.equal(got.argmax(1), expected.argmax(1))
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    kernels = [m.weight for m in quick.modules() if isinstance(m, nn.Conv2d)]
    assert all(kernel.dtype == kind for kernel in kernels)
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def by_hand(network: Network, batches: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean over batches of each layer's mean and unbiased variance, read off what enters the layer in training."""
    other = copy.deepcopy(network).train()
    seen: dict[str, list[Tensor]] = {name: [] for name in normalisations(other)}
    for module in other.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    for name, layer in normalisations(other).items():
        layer.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0].detach()))
    for batch in batches:
        other(batch)
    found = {}
    for name, inputs in seen.items():
        rows = [x.permute(1, 0, 2, 3).flatten(1) for x in inputs]
        means = [row.sum(1) / row.shape[1] for row in rows]
        squares = [((r - m[:, None]) ** 2).sum(1) / (r.shape[1] - 1) for r, m in zip(rows, means, strict=True)]
        found[name] = torch.stack(means).mean(0), torch.stack(squares).mean(0)
    return found


@pytest.mark.parametrize("architecture", [SMALL, V2, replace(SMALL, shortcut_dropout=0.5)])
@pytest.mark.parametrize("training", [True, False])
def test_reestimated_by_hand(architecture: Architecture, training: bool) -> None:
    network = trained(architecture, torch.float64).train(training)
    before = copy.deepcopy(network.state_dict())
    batches = [images(6, seed).double() * (1 + seed) for seed in range(3)]
    expected = by_hand(network, batches)
    other = reestimated(network, iter(batches))
    assert other.training is training
    assert all(module.training is training for module in other.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    for name, layer in normalisations(other).items():
        assert layer.momentum == 0.1
        assert layer.running_mean is not None
        assert layer.running_var is not None
        torch.testing.assert_close(layer.running_mean, expected[name][0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(layer.running_var, expected[name][1], rtol=1e-12, atol=1e-12)
        assert not torch.allclose(layer.running_var, before[f"{name}.running_var"], rtol=0.01)
    for name, parameter in other.named_parameters():
        assert torch.equal(parameter, before[name])


def test_without_batches_nothing_is_estimated() -> None:
    with pytest.raises(ValueError, match="at least one batch of training images, got none"):
        reestimated(trained(SMALL), [])
