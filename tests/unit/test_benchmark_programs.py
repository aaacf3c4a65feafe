"""The benchmarks' baselines do the same work as ours, so that a ratio is one of speed only."""

import ast
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from benchmarks import cifar_script, digits_script, digits_stage, loop, resnet_50, synthetic
from benchmarks.catalogue import CATALOGUE
from benchmarks.cifar_script import MEAN as COLOURS
from benchmarks.cifar_script import ResNet20
from benchmarks.digits_stage import ITERATIONS, short_experiment, write_params
from benchmarks.gpu import catalogue
from benchmarks.harness import ROOT, Program
from pipeline import config
from resnet.batch_norm import folded
from resnet.counting import count, count_of
from resnet.in_memory_data import Batch, EvalBatches, TrainBatches
from resnet.network import build, initialise
from resnet.training import start, train
from resnet.weights.torchvision import published, to_torchvision

CPU = torch.device("cpu")
ALL = (*CATALOGUE, *catalogue.CATALOGUE)
PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BN1, BN2 = ([f"bn{i}.{part}" for part in PARTS] for i in (1, 2))
STEM = [("conv1", "weight"), *(("bn1", part) for part in PARTS)]


@pytest.mark.parametrize("program", {p.function: p for one in ALL for p in (one.ours, one.baseline)}.values())
def test_every_program_exists(program: Program) -> None:
    module, _, function = program.function.partition(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())  # importing Ray and MLflow takes seconds
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    assert {argument.arg for argument in found.args.args} >= {"quick", *program.options}


def test_the_usual_cifar_network_has_our_parameters_and_multiply_adds() -> None:
    ours = count(loop.RESNET_20, classes=10, size=32)
    baseline = count_of(ResNet20, channels=3, size=32)
    assert baseline.parameters == ours.parameters
    assert baseline.multiply_adds == ours.multiply_adds


def channels() -> list[list[int]]:
    """Returns, by stage, our channel of each of theirs: their option A pads on both sides, ours after the last."""
    stages = [list(range(16))]
    for width in (32, 64):
        new = list(range(len(stages[-1]), width))
        stages.append([*new[: width // 4], *stages[-1], *new[width // 4 :]])
    return stages


def taken_from(source: nn.Module) -> ResNet20:
    """Returns their network with our weights, its channels in the order that their padding requires."""
    weights, target = source.state_dict(), ResNet20()
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


@pytest.mark.parametrize("training", [False, True])
def test_the_usual_cifar_network_is_the_same_function(training: bool) -> None:
    ours = build(loop.RESNET_20, classes=10)
    initialise(ours, 3)
    baseline = taken_from(ours).double().train(training)
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        logits = ours.double().train(training)(images)
        torch.testing.assert_close(baseline(images), logits, rtol=0, atol=1e-10)
    assert logits.std() > 0.01


def test_two_steps_of_the_usual_script_are_ours() -> None:
    """With momentum and decay, from equal weights on equal batches."""
    recipe = loop.recipe(4, 100, "fp32")
    run = start(loop.RESNET_20, recipe, classes=10, channels=3, seed=3, device=CPU)
    run.network.double()
    baseline = taken_from(run.network).double()
    batches: list[Batch] = [(images.double(), y) for images, y in synthetic.batches(2, 4)]
    before = baseline.layer3[2].get_parameter("conv2.weight").clone()
    steps = train(run, recipe, 0, loop.Repeated(batches), EvalBatches(loop.images(1, CPU)))
    for _ in range(2):
        next(steps)
    sgd = torch.optim.SGD(baseline.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    cifar_script.train(batches, baseline, sgd)
    assert (baseline.layer3[2].get_parameter("conv2.weight") - before).abs().max() > 1e-3
    for name, tensor in taken_from(run.network).double().state_dict().items():
        torch.testing.assert_close(baseline.state_dict()[name], tensor, rtol=1e-5, atol=1e-6, msg=name)  # float32 loss


def windows(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Iterator[bytes]:
    """Yields all 162 crops of the padded image (3, 32, 32), mirrored or not."""
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
    for top, left in itertools.product(range(9), range(9)):
        window = padded[:, top : top + 32, left : left + 32]
        yield window.tobytes()
        yield window[:, :, ::-1].tobytes()


def test_the_usual_input_yields_legal_crops_of_our_images() -> None:
    loader = cifar_script.loader(12, 4, 0)
    loader.dataset.targets = list(range(12))  # type: ignore[attr-defined]  # names the image
    images = loop.images(12, CPU).images.numpy()
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (COLOURS, cifar_script.DEVIATION))
    seen = []
    for batch, targets in loader:
        assert (batch.shape, batch.dtype) == ((4, 3, 32, 32), torch.float32)
        for tensor, target in zip(batch, targets.tolist(), strict=True):
            pixels = ((tensor * deviation + mean) * 255).round().to(torch.uint8).numpy()
            assert pixels.tobytes() in set(windows(images[target]))
            seen.append(target)
    assert sorted(seen) == list(range(12))
    batch, labels = next(TrainBatches(loop.images(12, CPU)).batches(loop.recipe(4, 1, "fp32"), 0, 0))
    assert (batch.shape, labels.shape, batch.dtype) == ((4, 3, 32, 32), (4,), torch.float32)


def test_ours_evaluates_the_function_that_torchvision_does() -> None:
    torch.manual_seed(0)
    ours = build(published(50), classes=1000).eval()
    baseline = torchvision.models.resnet50()
    baseline.load_state_dict(to_torchvision(ours))
    images, _ = resnet_50.batch(2, True)
    with torch.no_grad():
        expected = baseline.double().eval()(images.double())
        torch.testing.assert_close(folded(ours.double())(images.double()), expected, rtol=0, atol=1e-9)
    assert resnet_50.network().architecture == ours.architecture


def test_the_short_digits_have_all_runs_and_the_shrunken_schedule() -> None:
    whole = config.load("digits", ROOT / "params.yaml")
    folder, iterations = short_experiment("test-", quick=False)
    short = config.load("digits", folder / "params.yaml")
    assert [(run.name, run.architecture) for run in short.runs] == [(run.name, run.architecture) for run in whole.runs]
    recipe, long = short.runs[0].recipe, whole.runs[0].recipe
    assert iterations == long.iterations
    drops = tuple(drop * ITERATIONS // iterations for drop in long.lr_drops)
    assert recipe == replace(long, iterations=ITERATIONS, lr_drops=drops, warm_up=None, record_every=2)
    what = next(one.what for one in CATALOGUE if one.name == "digits-stage")
    assert f" {len(short.runs)} runs" in what
    assert f" {ITERATIONS} of {iterations} iterations" in what


def test_the_digits_script_trains_the_runs_of_the_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, "digits", 2, digits_stage.QUICK_NETWORKS, record_every=1)
    (spec,) = config.load("digits").runs
    images, labels = digits_script.load(held_out=500)
    assert (images.shape, labels.shape) == ((1297, 1, 8, 8), (1297,))
    pace = digits_script.train(spec, (images, labels))
    assert (pace.run, pace.iterations, pace.first_row) == ("cifar-plain-20-seed0", 2, 1)
    assert 0 < pace.first_row_s < pace.seconds
    trained = torch.load(f"{pace.run}.pt", weights_only=True)
    assert trained["conv1.bn.num_batches_tracked"] == 2
