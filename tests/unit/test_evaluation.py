"""Errors as counts, compared with counting one image at a time."""

import math

import pytest
import torch
from torch import Tensor, nn

from resnet.architectures import Architecture
from resnet.evaluation import Errors, evaluate, wrong
from resnet.in_memory_data import EvalBatches, Images
from resnet.network import build, initialise
from resnet.protocols import evaluate_each

NAN, INF = math.nan, math.inf


def brute(logits: Tensor, labels: Tensor, k: int) -> int:
    """Counts by ranks: a label is found if fewer than k other scores are at least as high and all are finite."""
    missed = 0
    for scores, label in zip(logits.tolist(), labels.tolist(), strict=True):
        own = scores[label]
        others = sum(1 for i, score in enumerate(scores) if i != label and score >= own)
        missed += others >= k or not all(math.isfinite(score) for score in scores)
    return missed


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("classes", [2, 5, 6, 50])
def test_counts(k: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randint(-9, 10, (400, classes), generator=generator).float()  # many ties
    logits[::17, 0] = NAN
    logits[5::17, 1] = INF
    labels = torch.randint(0, classes, (400,), generator=generator)
    expected = brute(logits, labels, k)
    assert 0 < expected < 400
    assert int(wrong(logits, labels, k)) == expected


@pytest.mark.parametrize(
    ("scores", "top1", "top5"),
    [
        ([3.0, 1, 1, 1, 1, 1, 1], 0, 0),
        ([3.0, 3, 1, 1, 1, 1, 1], 1, 0),  # a tie for the first place
        ([3.0, 3, 3, 3, 3, 1, 1], 1, 0),
        ([3.0, 3, 3, 3, 3, 3, 1], 1, 1),  # a tie for the fifth
        ([0.0] * 7, 1, 1),  # a network that answers nothing
        ([3.0, NAN, 1, 1, 1, 1, 1], 1, 1),
        ([NAN, 1.0, 1, 1, 1, 1, 1], 1, 1),
        ([INF, 1.0, 1, 1, 1, 1, 1], 1, 1),
        ([NAN] * 7, 1, 1),
    ],
)
def test_ties_and_non_finite_scores_are_errors(scores: list[float], top1: int, top5: int) -> None:
    logits, labels = torch.tensor([scores]), torch.tensor([0])
    assert (int(wrong(logits, labels, 1)), int(wrong(logits, labels, 5))) == (top1, top5)


def data(size: int = 37) -> Images:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (size, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Images(images, torch.randint(0, 7, (size,), generator=generator), images.float().mean(dim=0))


def network() -> nn.Sequential:
    built = build(Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="B"), 7, channels=1)
    initialise(built, 0)
    return built


def test_evaluate_against_single_images() -> None:
    built, split = network(), data()
    got = evaluate(built, EvalBatches(split).batches(8))
    built.eval()
    expected = Errors(0, 0, 0, 0.0)
    for i in range(split.size):
        with torch.no_grad():
            scores = built(((split.images[i : i + 1].float() - split.mean) / 255).contiguous())
        label = split.labels[i : i + 1]
        loss = float(-scores[0].double().log_softmax(0)[label[0]])
        expected += Errors(1, brute(scores, label, 1), brute(scores, label, 5), loss)
    assert (got.images, got.top1, got.top5) == (expected.images, expected.top1, expected.top5)
    assert got.images == 37
    assert 0 < got.top5 < got.top1
    assert got.loss == pytest.approx(expected.loss, rel=1e-5)
    assert got.top1_percent == pytest.approx(100 * expected.top1 / 37)
    assert got.top5_percent == pytest.approx(100 * expected.top5 / 37)


@pytest.mark.parametrize("scale", [1.0, INF])
def test_which_images_are_wrong(scale: float) -> None:
    """The images are counted and found in one pass; a network that is not finite is wrong everywhere."""
    built, split = network(), data()
    for parameter in built.parameters():
        parameter.data *= scale
    passes: list[Tensor] = []
    built.register_forward_hook(lambda module, _, logits: passes.append(logits))
    errors, mask = evaluate_each(built, EvalBatches(split).batches(8))
    logits = torch.cat(passes)
    assert len(logits) == len(mask) == 37
    assert mask.tolist() == [bool(brute(logits[i : i + 1], split.labels[i : i + 1], 1)) for i in range(37)]
    again = evaluate(built, EvalBatches(split).batches(8))
    assert (errors.images, errors.top1, errors.top5) == (37, again.top1, again.top5)
    assert mask.sum() == errors.top1
    assert mask.all() == (scale == INF)


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_the_network_as_it_was(training: bool) -> None:
    built = network().train(training)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    evaluate(built, EvalBatches(data()).batches(8))
    assert built.training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in built.state_dict().items())
