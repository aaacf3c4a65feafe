"""Our training loop, resnet.training, without an end: what a measurement calls again and again."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import repeat
from typing import Any

import torch

from benchmarks.gpu.plan import Skipped
from resnet import Architecture, Network
from resnet.data import Batch, Clean, Images, TrainData
from resnet.recipe import MOST, Precision, Recipe
from resnet.training import Training, start, train

Prepare = Callable[[Network], object]
UNSEEN = Clean(Images(torch.empty(0, 3, 1, 1, dtype=torch.uint8), torch.empty(0).long(), torch.empty(3, 1, 1)))


@dataclass(frozen=True, slots=True)
class Held:
    """One batch again and again: training costs the same, and nothing is loaded."""

    batch: Batch

    @property
    def size(self) -> int:
        return len(self.batch[1])

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        return repeat(self.batch)


def recipe(batch_size: int, precision: Precision, iterations: int = MOST, lr_drops: tuple[int, ...] = ()) -> Recipe:
    """Sec. 4.2. Rows are made at the end alone, so the loop waits for the device at no other iteration."""
    return Recipe(
        batch_size=batch_size,
        iterations=iterations,
        lr=0.1,
        lr_drops=lr_drops,
        momentum=0.9,
        weight_decay=1e-4,
        pad=4,
        flip=True,
        precision=precision,
        record_every=iterations,
        validate_every=iterations,
    )


def training(
    architecture: Architecture,
    data: TrainData,
    device: torch.device,
    *,
    classes: int,
    batch_size: int,
    precision: Precision = "bf16",
    prepare: Prepare | None = None,
) -> Callable[[], Training]:
    """A function that trains for one iteration. `prepare` is shown the network before the first one."""
    plan = recipe(batch_size, precision)
    run = start(architecture, plan, classes=classes, channels=3, seed=0, device=device)
    if prepare is not None:
        prepare(run.network)
    iterations = train(run, plan, 0, data, UNSEEN)
    return lambda: next(iterations)


def compiling(backend: str, **options: Any) -> Prepare:
    """For `prepare`: the network compiles itself when it is called. Raises Skipped where nothing can compile here."""
    torch.compiler.reset()  # torch gives up on code that it has compiled for too many networks

    def compiled(network: Network) -> None:
        _refuse(next(network.parameters()).device, backend)
        network.compile(backend=backend, **({"options": options} if options else {}))

    return compiled


def _refuse(device: torch.device, backend: str) -> None:
    if backend != "inductor":
        return
    if device.type == "cuda" and find_spec("triton") is None:
        raise Skipped("torch.compile needs triton, which is not installed")
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++", "cc", "gcc", "clang")):
        raise Skipped("torch.compile needs a C compiler, and none is on PATH")
