"""From the usual CIFAR-10 script to our loop, one change at a time: ms a step, and seconds for the paper's 64,000.

The usual script computes as torch does when it is told nothing, and convolutions on a GPU are then in TF32; `fp32`
below is float32 in earnest. Our loop (resnet.training) has SGD as one kernel and never waits for the device between two
rows of its history. The pipeline trains with deterministic algorithms, which have a rung of their own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

from benchmarks.gpu.clock import Timing, timed
from benchmarks.gpu.loop import compiling, recipe, training
from benchmarks.gpu.patterns import CLASSES, splits
from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.rows import MS_STEP, RUN_S, Row, duration
from benchmarks.gpu.sizes import Sizes, cifar
from benchmarks.gpu.usual import loaded, script
from resnet import build
from resnet.data import Augmented, Batch, Images
from resnet.precision import set_arithmetic
from resnet.recipe import Precision

ITERATIONS = 64_000  # Sec. 4.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    name: str
    data: Literal["loader", "device"] = "device"
    layout: torch.memory_format = torch.channels_last
    precision: Precision = "bf16"
    loop: Literal["usual", "ours"] = "ours"
    deterministic: bool = False
    compiled: bool = False
    below: str = ""  # the rung that it changes in one thing; empty: the one above it in the table


# fmt: off
USUAL = Rung(name="the usual script", data="loader", layout=torch.contiguous_format, precision="tf32", loop="usual")
RUNGS = (
    USUAL,
    Rung(name="data on the device, fp32", layout=torch.contiguous_format, precision="fp32", loop="usual"),
    Rung(name="channels last",                                            precision="fp32", loop="usual"),
    Rung(name="tf32",                                                     precision="tf32", loop="usual"),
    Rung(name="bf16",                                                     precision="bf16", loop="usual"),
    Rung(name="our loop"),
    Rung(name="our loop, deterministic", deterministic=True),
    Rung(name="our loop, compiled", compiled=True, below="our loop"),
)
# fmt: on
BELOW = {rung.name: rung.below or before.name for before, rung in pairwise(RUNGS)}


def section(device: torch.device, sizes: Sizes) -> list[Measurement]:
    """What has to be compiled comes last, for it takes minutes."""
    data, _ = splits(sizes.images, 1, device)
    rungs = sorted(((rung, depth) for depth in sizes.depths for rung in RUNGS), key=lambda pair: pair[0].compiled)
    climbed: dict[int, dict[str, Timing]] = {depth: {} for depth in sizes.depths}

    def measurement(rung: Rung, depth: int) -> Measurement:
        name = f"resnet-{depth}, {rung.name}"

        def take() -> list[Row]:
            timing = timed(step(rung, depth, data, device, sizes), device, sizes.effort)
            climbed[depth][rung.name] = timing
            found = rows(name, rung, climbed[depth])
            return found + ([first_iteration(name, timing)] if rung.compiled else [])

        return Measurement(name, take)

    return [measurement(rung, depth) for rung, depth in rungs]


def rows(name: str, rung: Rung, climbed: dict[str, Timing]) -> list[Row]:
    """Against the rung below, and for a whole training against the usual script."""
    ours, below = climbed[rung.name], climbed.get(BELOW.get(rung.name, ""))
    usual = None if rung is USUAL else climbed.get(USUAL.name)
    return [
        duration(f"cifar-ladder: {name}", MS_STEP, 1e3, ours, below),
        duration(f"cifar-ladder: {name}", RUN_S, ITERATIONS, ours, usual),
    ]


def first_iteration(name: str, timing: Timing) -> Row:
    return Row(name=f"cifar-ladder: {name}, first iteration", unit="s", ours=timing.first_s)


def step(rung: Rung, depth: int, data: Images, device: torch.device, sizes: Sizes) -> Callable[[], object]:
    """A function that trains for one step in the manner of the rung."""
    set_arithmetic(rung.precision)
    torch.backends.cudnn.benchmark = not rung.deterministic
    torch.use_deterministic_algorithms(rung.deterministic, warn_only=True)
    network = cifar(depth)
    if rung.loop == "usual":
        batches = batches_of(rung, data, device, sizes)
        return script(build(network, CLASSES), batches, device, rung.precision, rung.layout)
    prepare = compiling(sizes.backend) if rung.compiled else None
    augmented = Augmented(data)
    return training(network, augmented, device, classes=CLASSES, batch_size=sizes.batch, prepare=prepare)


def batches_of(rung: Rung, data: Images, device: torch.device, sizes: Sizes) -> Iterator[Batch]:
    if rung.data == "loader":
        return loaded(data, device, sizes.batch, sizes.workers)
    return Augmented(data).batches(recipe(sizes.batch, rung.precision), 0, 0)
