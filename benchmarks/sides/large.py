"""Ours on images of 224x224 pixels: evaluation and a training step of ResNet-50 as torchvision builds it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import made_up
from benchmarks.harness import Work
from benchmarks.sides.small import as_workers_do, channels_last, precision
from resnet.batch_norm import folded
from resnet.evaluation import evaluate
from resnet.network import Network, build, initialise
from resnet.weights.torchvision import published

CLASSES = 1000
SIZE, QUICK_SIZE = 224, 32
EVALUATED, QUICK_EVALUATED = 32, 2  # images
TRAINED, QUICK_TRAINED = 8, 2


def network() -> Network:
    """The layers of torchvision's resnet50, stride in the 3x3 convolution."""
    made = build(published(50), classes=CLASSES)
    initialise(made, seed=0)
    return made


def evaluation(quick: bool) -> Work:
    """Folded, channels-last, in bfloat16 where it is faster: what the stage `evaluate` does with a batch."""
    as_workers_do()
    images, labels = batch(EVALUATED, QUICK_EVALUATED, quick)
    ready = [(channels_last(images), labels)]
    ours, format_ = folded(network()), precision()

    def go() -> None:
        evaluate(ours, ready, format_)

    return go


def step(quick: bool) -> Work:
    return stepping(network(), quick)


def stepping(model: nn.Module, quick: bool) -> Work:
    """One iteration of Sec. 3.4's recipe on the same images each time, float32 and channels-last."""
    model.train().to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    images, labels = batch(TRAINED, QUICK_TRAINED, quick)
    images = channels_last(images)

    def go() -> None:
        loss = F.cross_entropy(model(images), labels)
        sgd.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        sgd.step()

    return go


def batch(count: int, quick_count: int, quick: bool) -> tuple[Tensor, Tensor]:
    return made_up.batch(quick_count if quick else count, QUICK_SIZE if quick else SIZE, CLASSES)
