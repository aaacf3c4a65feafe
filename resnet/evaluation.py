"""Errors as counts of images, which add up over batches and shards (Sec. 4.1: top-1 and top-5 error)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet.device import autocasting
from resnet.in_memory_data import Batch
from resnet.recipe import Precision


@dataclass(frozen=True, slots=True)
class Errors:
    """Counts over the images of a split, never means."""

    images: int
    top1: int  # images whose label is not the highest score
    top5: int  # images whose label is not among the five highest scores
    loss: float  # summed cross-entropy

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.images + other.images, self.top1 + other.top1, self.top5 + other.top5, self.loss + other.loss
        )

    @property
    def top1_percent(self) -> float:
        return 100.0 * self.top1 / self.images

    @property
    def top5_percent(self) -> float:
        return 100.0 * self.top5 / self.images


def wrong(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Counts the labels that are not among the k highest scores: a scalar on the device.

    Ties count against the network (a score equal to the label's ranks before it), so that constant or non-finite
    scores of a diverged network are errors, never correct by luck.
    """
    own = logits.gather(1, labels[:, None])
    ahead = (logits >= own).sum(dim=1) - 1
    missed = (ahead >= k) | ~torch.isfinite(own[:, 0]) | ~torch.isfinite(logits).all(dim=1)
    return missed.sum()


@torch.inference_mode()
def evaluate(network: nn.Module, batches: Iterable[Batch], precision: Precision = "fp32") -> Errors:
    """Counts the errors of `network` in evaluation mode; restores its mode. Waits for the device once."""
    training = network.training
    network.eval()
    total = Errors(0, 0, 0, 0.0)
    sums: Tensor | None = None
    images = 0
    for x, y in batches:
        with autocasting(x.device, precision):
            logits = network(x).float()
        counts = torch.stack(
            [
                wrong(logits, y, 1).double(),
                wrong(logits, y, 5).double(),
                F.cross_entropy(logits, y, reduction="sum").double(),
            ]
        )
        sums = counts if sums is None else sums + counts
        images += len(y)
    network.train(training)
    if sums is not None:
        top1, top5, loss = sums.tolist()
        total = Errors(images, int(top1), int(top5), loss)
    return total
