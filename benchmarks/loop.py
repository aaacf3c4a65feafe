"""Our training loop without an end, as the benchmarks of training call it. Needs only torch, numpy and `resnet`."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import synthetic
from benchmarks.harness import Work
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.in_memory_data import Batch, EvalBatches, Images, TrainData
from resnet.recipe import MAX_COUNT, Precision, Recipe
from resnet.training import start, train

RESNET_20 = ARCHITECTURES["cifar-resnet-20"]


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same few batches in a cycle, ready on the device: training without its input."""

    ready: list[Batch]

    @property
    def size(self) -> int:
        return sum(len(labels) for _, labels in self.ready)

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        return itertools.cycle(self.ready)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def images(count: int, device: torch.device) -> Images:
    """Returns `count` random images of 32x32 with their mean."""
    pixels, labels = synthetic.small_images(count)
    mean = torch.from_numpy(pixels.mean(axis=0).astype("float32"))
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels), mean).to(device)


def recipe(batch_size: int, row: int, precision: Precision, *, compiled: bool = False) -> Recipe:
    """Returns Sec. 4.2's recipe without an end; a row of the history every `row` iterations."""
    return Recipe(
        batch_size=batch_size, iterations=MAX_COUNT, lr=0.1, lr_drops=(32_000, 48_000), momentum=0.9,
        weight_decay=1e-4, pad=4, flip=True, precision=precision, compile=compiled, record_every=row,
        validate_every=row * (MAX_COUNT // row),
    )  # fmt: skip


def iterations(
    architecture: Architecture, data: TrainData, recipe: Recipe, count: int, device: torch.device, classes: int
) -> Work:
    """Continues one run by `count` iterations in each call, until the device has done them."""
    run = start(architecture, recipe, classes=classes, channels=3, seed=0, device=device)
    steps = train(run, recipe, 0, data, EvalBatches(images(1, device)))

    def call() -> None:
        for _ in range(count):
            next(steps)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return Work(call, count * recipe.batch_size)
