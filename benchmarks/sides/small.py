"""Ours on images of 32x32 pixels (Sec. 4.2): a training step, the input alone, and an epoch of both."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import made_up
from benchmarks.harness import Work
from pipeline.training.device import keep_freed_memory
from resnet.architectures import ARCHITECTURES
from resnet.data import Augmented, Batch, Clean, Images, TrainData
from resnet.peak import fast_bf16
from resnet.recipe import MOST, Precision, Recipe
from resnet.training import start, train

NETWORK = ARCHITECTURES["cifar-resnet-20"]
BATCH, QUICK_BATCH = 128, 4
STEPS, QUICK_STEPS = 4, 1
EPOCH_BATCHES, QUICK_EPOCH_BATCHES = 79, 2  # 10,112 images in batches of 128
PASSES = 5  # over the images in one call of `inputs`, for one is soon over
DEVICE = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same few batches again and again, ready on the device: training without its input."""

    ready: list[Batch]

    @property
    def size(self) -> int:
        return sum(len(labels) for _, labels in self.ready)

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        return itertools.cycle(self.ready)


def recipe(batch_size: int, row: int) -> Recipe:
    """Sec. 4.2's without an end; a row of the history every `row` iterations."""
    return Recipe(
        batch_size=batch_size, iterations=MOST, lr=0.1, lr_drops=(32_000, 48_000), momentum=0.9, weight_decay=1e-4,
        pad=4, flip=True, precision=precision(), record_every=row, validate_every=row * (MOST // row),
    )  # fmt: skip


def precision() -> Precision:
    """What we advise for this CPU, by a product of matrices in both."""
    return "bf16" if fast_bf16(DEVICE) else "fp32"


def as_workers_do() -> None:
    """What pipeline.training.device.set_up makes of a process, but for threads, which are the benchmark's."""
    torch.set_flush_denormal(True)
    keep_freed_memory()


def images(count: int) -> Images:
    bytes_, labels = made_up.small(count)
    mean = torch.from_numpy(bytes_.mean(axis=0).astype("float32"))
    return Images(torch.from_numpy(bytes_), torch.from_numpy(labels), mean).to(DEVICE)


def iterations(data: TrainData, recipe: Recipe, count: int) -> Callable[[], None]:
    """Goes on with one run of ResNet-20 by `count` iterations a call."""
    as_workers_do()
    run = start(NETWORK, recipe, classes=made_up.CLASSES, channels=3, seed=0, device=DEVICE)
    steps = train(run, recipe, 0, data, Clean(images(1)))

    def go() -> None:
        for _ in range(count):
            next(steps)

    return go


def training_step(quick: bool) -> Work:
    size, steps = (QUICK_BATCH, QUICK_STEPS) if quick else (BATCH, STEPS)
    batches = [made_up.batch(size, made_up.SMALL, made_up.CLASSES, seed) for seed in range(STEPS)]
    ready: list[Batch] = [(channels_last(x), y) for x, y in batches]
    return iterations(Repeated(ready), recipe(size, 100), steps)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def inputs(quick: bool) -> Work:
    """Several passes over the images, one after another as in training; told is the time of one."""
    as_workers_do()
    size, count = (QUICK_BATCH, QUICK_EPOCH_BATCHES) if quick else (BATCH, EPOCH_BATCHES)
    batches = Augmented(images(size * count)).batches(recipe(size, count), 0, 0)

    def go() -> float:
        began = time.perf_counter()
        for _ in range(PASSES * count):
            next(batches)
        return (time.perf_counter() - began) / PASSES

    return go


def epoch(quick: bool) -> Work:
    size, count = (QUICK_BATCH, QUICK_EPOCH_BATCHES) if quick else (BATCH, EPOCH_BATCHES)
    return iterations(Augmented(images(size * count)), recipe(size, count), count)
