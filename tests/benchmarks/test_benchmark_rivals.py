"""The benchmarks' rivals do the same work as ours, so that a ratio is one of speed alone."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from benchmarks import made_up
from benchmarks.catalogue_compute import COMPUTE
from benchmarks.rivals import cifar_script
from benchmarks.rivals.cifar_network import BasicBlock, ResNet, resnet20
from benchmarks.side import load
from benchmarks.sides import compiled, large, small
from resnet.batch_norm import folded
from resnet.blocks import Padding
from resnet.counting import count, count_of
from resnet.data import Augmented, Batch, Clean
from resnet.network import build, initialise
from resnet.training import start, train
from resnet.weights.torchvision import published, to_torchvision

# The network of the usual CIFAR script


def test_the_usual_cifar_network_has_our_parameters_and_multiply_adds() -> None:
    ours = count(small.NETWORK, classes=10, size=32)
    theirs = count_of(resnet20, channels=3, size=32)
    assert theirs.parameters == ours.parameters == sum(p.numel() for p in resnet20().parameters())
    assert theirs.multiply_adds == ours.multiply_adds


def channels() -> list[list[int]]:
    """Ours of each of theirs, by stage: their option A pads on both sides, ours behind."""
    stages = [list(range(16))]
    for width in (32, 64):
        old = len(stages[-1])
        new = list(range(old, width))
        stages.append([*new[: width // 4], *stages[-1], *new[width // 4 :]])
    return stages


def taken_from(source: nn.Module) -> ResNet:
    """Their network with our weights, its channels in the order that their padding asks for."""
    weights, target = source.state_dict(), resnet20()
    state = {f"{name}.{part}": weights[f"conv1.{'conv' if name == 'conv1' else 'bn'}.{part}"] for name, part in STEM}
    entering = list(range(16))
    for stage, order in enumerate(channels(), start=1):
        for i in range(3):
            block = f"conv{stage + 1}_x.{i}.residual"
            for name in ("conv1.weight", *BN1, "conv2.weight", *BN2):
                tensor = weights[f"{block}.{name}"]
                if name == "conv1.weight":
                    tensor = tensor[:, entering]
                elif name == "conv2.weight" or name in BN2:
                    tensor = tensor[order] if tensor.dim() else tensor
                state[f"layer{stage}.{i}.{name}"] = tensor
            entering = order
    state |= {"linear.weight": weights["head.fc.weight"][:, entering], "linear.bias": weights["head.fc.bias"]}
    target.load_state_dict(state)
    return target


PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BN1, BN2 = ([f"bn{i}.{part}" for part in PARTS] for i in (1, 2))
STEM = [("conv1", "weight"), *(("bn1", part) for part in PARTS)]


def ours_in_float64(seed: int = 3) -> nn.Module:
    network = build(small.NETWORK, classes=10)
    initialise(network, seed)
    return network.double()


@pytest.mark.parametrize("training", [False, True])
def test_the_usual_cifar_network_is_the_same_function(training: bool) -> None:
    ours = ours_in_float64()
    theirs = taken_from(ours).double().train(training)
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        logits = ours.train(training)(images)
        torch.testing.assert_close(theirs(images), logits, rtol=0, atol=1e-10)
    assert logits.std() > 0.01


def test_without_the_order_of_channels_it_is_another_function() -> None:
    """So the test before sees where the padding is."""
    ours = ours_in_float64().eval()
    theirs = taken_from(ours).double().eval()
    for module in theirs.modules():
        if isinstance(module, BasicBlock) and module.conv1.in_channels != module.conv1.out_channels:
            module.shortcut = Padding(module.conv1.in_channels, 2)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert not torch.allclose(theirs(images), ours(images), atol=1e-3)


# Its steps


def test_two_steps_of_the_usual_script_are_ours() -> None:
    """With momentum and decay, from equal weights on equal batches."""
    recipe = replace(small.recipe(4, 100), precision="fp32")
    run = start(small.NETWORK, recipe, classes=10, channels=3, seed=3, device=torch.device("cpu"))
    run.network.double()
    theirs = taken_from(run.network).double()
    batches: list[Batch] = [(images.double(), y) for images, y in (made_up.batch(4, 32, 10, seed) for seed in (1, 2))]
    before = theirs.layer3[2].get_parameter("conv2.weight").clone()
    steps = train(run, recipe, 0, small.Repeated(batches), Clean(small.images(1)))
    for _ in range(2):
        next(steps)
    cifar_script.train(batches, theirs, cifar_script.optimizer_of(theirs))
    moved = (theirs.layer3[2].get_parameter("conv2.weight") - before).abs().max()
    assert moved > 1e-3
    for name, tensor in taken_from(run.network).double().state_dict().items():
        torch.testing.assert_close(theirs.state_dict()[name], tensor, rtol=1e-5, atol=1e-6, msg=name)  # float32 loss


def test_the_script_reads_its_meters_right() -> None:
    images, labels = made_up.batch(6, 32, 10)

    class Known(nn.Module):
        """Right for the first four of six images; its weight only lets a gradient through."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            told = torch.where(torch.arange(len(x)) < 4, labels, (labels + 1) % 10)
            return 9.0 * self.weight * F.one_hot(told, 10)

    model = Known()
    told = cifar_script.train([(images, labels)], model, cifar_script.optimizer_of(model))
    assert told.avg == pytest.approx(100 * 4 / 6)


# Its input


def windows(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Iterator[bytes]:
    """All 162 crops of the padded image (3, 32, 32), mirrored or not."""
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
    for top, left in itertools.product(range(9), range(9)):
        window = padded[:, top : top + 32, left : left + 32]
        yield window.tobytes()
        yield window[:, :, ::-1].tobytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_usual_input_yields_legal_crops_of_the_same_images(workers: int) -> None:
    loader = cifar_script.loader(12, 4, workers)
    loader.dataset.targets = list(range(12))  # type: ignore[attr-defined]  # tells which image it was
    images, _ = made_up.small(12)
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (made_up.MEAN, made_up.DEVIATION))
    seen, moved = [], 0
    for batch, targets in loader:
        assert batch.shape == (4, 3, 32, 32)
        assert batch.dtype == torch.float32
        for tensor, target in zip(batch, targets.tolist(), strict=True):
            bytes_ = ((tensor * deviation + mean) * 255).round().to(torch.uint8).numpy()
            assert bytes_.tobytes() in set(windows(images[target]))
            moved += bytes_.tobytes() != images[target].tobytes()
            seen.append(target)
    assert sorted(seen) == list(range(12))
    assert moved > 0


def test_ours_yields_batches_of_the_same_shape_from_the_same_images() -> None:
    ours = small.images(12)
    theirs = cifar_script.Cifar(12, cifar_script.augmentation())
    assert np.array_equal(ours.images.numpy(), theirs.data.transpose(0, 3, 1, 2))
    assert ours.labels.tolist() == theirs.targets
    batch, labels = next(Augmented(ours).batches(small.recipe(4, 1), 0, 0))
    assert (batch.shape, labels.shape, batch.dtype) == ((4, 3, 32, 32), (4,), torch.float32)


# ResNet-50


def test_ours_evaluates_the_function_that_torchvision_does() -> None:
    torch.manual_seed(0)
    ours = build(published(50), classes=1000).eval()
    theirs = torchvision.models.resnet50()
    theirs.load_state_dict(to_torchvision(ours))
    images, _ = large.batch(2, 2, True)
    with torch.no_grad():
        expected = theirs.double().eval()(images.double())
        torch.testing.assert_close(folded(ours.double())(images.double()), expected, rtol=0, atol=1e-9)
    assert large.network().architecture == ours.architecture


# torch.compile


def test_what_compiling_lacks_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SystemExit, match=r"torch.compile needs a C\+\+ compiler \(g\+\+ or clang\+\+\) on PATH"):
        compiled.compiled(False)


# All


@pytest.mark.parametrize("side", sorted({side for one in COMPUTE for side in (one.ours, one.rival) if side}))
def test_every_side_is_there(side: str) -> None:
    assert callable(load(side))
