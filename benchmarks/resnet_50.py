"""Ours and torchvision's networks at 224x224: evaluation and a training step of ResNet-50, and construction."""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from benchmarks import synthetic
from benchmarks.cifar_script import accuracy
from benchmarks.harness import Work
from benchmarks.loop import channels_last
from benchmarks.small_images import precision
from pipeline import worker
from resnet.batch_norm import folded
from resnet.evaluation import evaluate
from resnet.network import Network, build, initialise
from resnet.weights.torchvision import published

CLASSES = 1000
EVALUATED, TRAINED, QUICK = 32, 8, 2  # images of a batch


def network() -> Network:
    """Returns ResNet-50 as torchvision builds it, stride in the 3x3 convolution."""
    built = build(published(50), classes=CLASSES)
    initialise(built, seed=0)
    return built


def batch(count: int, quick: bool) -> tuple[Tensor, Tensor]:
    return synthetic.batch(QUICK if quick else count, 32 if quick else 224, CLASSES)


def evaluation(quick: bool) -> Work:
    """What the stage `evaluate` does with a batch: folded, channels-last, in bfloat16 where it is faster."""
    worker.set_up(torch.get_num_threads(), 0)
    images, labels = batch(EVALUATED, quick)
    ready = [(channels_last(images), labels)]
    ours, format_ = folded(network()), precision()

    def call() -> None:
        evaluate(ours, ready, format_)

    return Work(call, len(images))


def torchvision_evaluation(quick: bool) -> Work:
    """What torchvision's reference script does with a batch."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50()
    model.eval()
    criterion = nn.CrossEntropyLoss()
    images, target = batch(EVALUATED, quick)

    def call() -> None:
        with torch.inference_mode():
            output = model(images)
            loss = criterion(output, target)
            _ = loss.item(), accuracy(output, target).item(), accuracy(output, target, 5).item()

    return Work(call, len(images))


def step(quick: bool, ours: bool) -> Work:
    """One iteration of Sec. 3.4's recipe on the same images each time, float32 and channels-last."""
    torch.manual_seed(0)
    model: nn.Module = network() if ours else torchvision.models.resnet50()
    model.train().to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    images, labels = batch(TRAINED, quick)
    images = channels_last(images)

    def call() -> None:
        loss = F.cross_entropy(model(images), labels)
        sgd.zero_grad()
        torch.autograd.backward(loss)
        sgd.step()

    return Work(call, len(images))


def construction(quick: bool, ours: bool) -> Work:
    """Builds ResNet-152 with its initial weights, in torchvision's variant; with `quick` ResNet-18."""
    constructor = torchvision.models.resnet18 if quick else torchvision.models.resnet152

    def call() -> None:
        if ours:
            build("resnet-18" if quick else "resnet-152", classes=CLASSES, stride_on="3x3")
        else:
            constructor()

    return Work(call)
