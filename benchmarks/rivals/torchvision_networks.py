"""torchvision's ResNet-50: evaluated as its reference script does on a CPU, and trained for a step."""

import torch
import torchvision
from torch import Tensor

from benchmarks.harness import Work
from benchmarks.sides.large import EVALUATED, QUICK_EVALUATED, batch, stepping


def accuracy(output: Tensor, target: Tensor, topk: tuple[int, ...] = (1, 5)) -> list[Tensor]:
    """Percent of images whose label is among the k highest scores."""
    with torch.inference_mode():
        _, pred = output.topk(max(topk), 1, True, True)
        correct = pred.t().eq(target[None])
        return [correct[:k].flatten().sum(dtype=torch.float32) * (100.0 / target.size(0)) for k in topk]


def evaluation(quick: bool) -> Work:
    torch.manual_seed(0)
    model = torchvision.models.resnet50()
    model.eval()
    criterion = torch.nn.CrossEntropyLoss()
    images, target = batch(EVALUATED, QUICK_EVALUATED, quick)

    def go() -> None:
        with torch.inference_mode():
            output = model(images)
            loss = criterion(output, target)
            acc1, acc5 = accuracy(output, target)
            _ = loss.item(), acc1.item(), acc5.item()

    return go


def step(quick: bool) -> Work:
    torch.manual_seed(0)
    return stepping(torchvision.models.resnet50(), quick)
