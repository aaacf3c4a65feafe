"""Ours on images of 32x32 pixels (Sec. 4.2): a training step, the input, and an epoch of both."""

import torch

from benchmarks import loop, synthetic
from benchmarks.harness import Work
from benchmarks.synthetic import sizes
from pipeline import worker
from resnet.device import fast_bf16
from resnet.in_memory_data import TrainBatches, TrainData
from resnet.recipe import Precision

PASSES = 5  # over the images in one call of `inputs`, because one takes little time
CPU = torch.device("cpu")


def precision() -> Precision:
    """Returns the number format that the pipeline advises for this CPU."""
    return "bf16" if fast_bf16(CPU) else "fp32"


def iterations(data: TrainData, batch: int, row: int, count: int) -> Work:
    """Continues a run of ResNet-20 by `count` iterations in each call, in a process set up as a worker's."""
    worker.set_up(torch.get_num_threads(), 0)
    return loop.iterations(loop.RESNET_20, data, loop.recipe(batch, row, precision()), count, CPU, synthetic.CLASSES)


def training_step(quick: bool) -> Work:
    size = sizes(quick)
    ready = [(loop.channels_last(x), y) for x, y in synthetic.batches(size.steps, size.batch)]
    return iterations(loop.Repeated(ready), size.batch, 100, size.steps)


def inputs(quick: bool) -> Work:
    """Several passes over the images, one after another as in training."""
    worker.set_up(torch.get_num_threads(), 0)
    size = sizes(quick)
    count, recipe = PASSES * size.epoch, loop.recipe(size.batch, size.epoch, "fp32")
    batches = TrainBatches(loop.images(size.batch * size.epoch, CPU)).batches(recipe, 0, 0)

    def call() -> None:
        for _ in range(count):
            next(batches)

    return Work(call, count * size.batch)


def epoch(quick: bool) -> Work:
    size = sizes(quick)
    data = TrainBatches(loop.images(size.batch * size.epoch, CPU))
    return Work(iterations(data, size.batch, size.epoch, size.epoch).call)
