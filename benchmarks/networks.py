"""Our networks beside torchvision's: seconds to make ResNet-152, and to train ResNet-50 for an iteration at 224 pixels.

Both sides take turns on the same threads, images and weights; the first turn of each is left out.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from resnet import build
from resnet.weights import from_torchvision

IMAGES = 8


@dataclass(frozen=True, slots=True)
class Ratio:
    """Medians over the repetitions; `spread` is the largest over the smallest time of ours."""

    name: str
    unit: str
    ours: float
    rival: float
    ratio: float
    gate: float
    holds: bool
    spread: float


def compared(name: str, gate: float, ours: Callable[[], object], rival: Callable[[], object], times: int) -> Ratio:
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(times + 1):
        for side, work in enumerate((ours, rival) if turn % 2 else (rival, ours)):
            began = time.perf_counter()
            work()
            if turn:
                taken[side if turn % 2 else 1 - side].append(time.perf_counter() - began)
    mine, theirs = (statistics.median(side) for side in taken)
    ratio = mine / theirs
    return Ratio(name, "s", mine, theirs, ratio, gate, ratio <= gate, max(taken[0]) / min(taken[0]))


def stepping(network: nn.Module) -> Callable[[], object]:
    """One iteration of Sec. 3.4's recipe on the same images each time."""
    sgd = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    images, labels = torch.randn(IMAGES, 3, 224, 224), torch.randint(1000, (IMAGES,))

    def step() -> None:
        loss = F.cross_entropy(network(images), labels)
        sgd.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        sgd.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--times", type=int, default=15, help="repetitions (default: %(default)s)")
    times = parser.parse_args().times
    theirs = torchvision.models.resnet50()
    results = [
        compared(
            "construction of ResNet-152",
            1.2,
            lambda: build("resnet-152", classes=1000, stride_on="3x3"),
            torchvision.models.resnet152,
            times,
        ),
        compared(
            f"training step of ResNet-50, {IMAGES} images at 224",
            1.02,
            stepping(from_torchvision(theirs.state_dict()).train()),
            stepping(theirs.train()),
            times,
        ),
    ]
    for result in results:
        print(json.dumps({key: round(v, 4) if isinstance(v, float) else v for key, v in asdict(result).items()}))
    sys.exit(not all(result.holds for result in results))


if __name__ == "__main__":
    main()
