"""Batch normalisation after training: estimated anew against sums by hand, folded against the network as it was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from resnet.batch_norm import folded, reestimated
from resnet.network import Network
from tests.factories.networks import KINDS, drawn

LEFT = {"BN after addition": 4, "pre-activation": 4, "plain pre-activation": 4, "Keras V2": 5}  # others: none


def normalisations(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_folded_is_the_same_function(case: str, kind: torch.dtype, tolerance: float) -> None:
    network, [(images, _)] = drawn(KINDS[case])
    network.to(kind).train()
    before = copy.deepcopy(network.state_dict())
    quick = folded(network)
    assert len(normalisations(quick)) == LEFT.get(case, 0) < len(normalisations(network))
    assert not quick.training
    with torch.no_grad():
        expected, got = copy.deepcopy(network).eval()(images.to(kind)), quick(images.to(kind))
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


@pytest.mark.parametrize("kind", ["A", "pre-activation", "dropout"])
@pytest.mark.parametrize("training", [True, False])
def test_reestimated_by_hand(kind: str, training: bool) -> None:
    network, [(images, _)] = drawn(KINDS[kind], images=18)
    network.train(training)
    before = copy.deepcopy(network.state_dict())
    batches = [part * (1 + i) for i, part in enumerate(torch.split(images, 6))]
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
