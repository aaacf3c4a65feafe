"""Ten-crop testing of ResNet-50 (Sec. 3.4): batch normalisation folded, channels last and bf16, against float32."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.gpu.clock import Timing, halving, timed
from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.rows import Row, rate
from benchmarks.gpu.sizes import Sizes
from resnet import build
from resnet.batch_norm import folded
from resnet.network import initialise
from resnet.precision import set_arithmetic
from resnet.protocols import TenCrop, evaluate, pixels
from resnet.recipe import Precision

CLASSES = 1000
CROPS = 5  # and their mirror images


@dataclass(frozen=True, slots=True)
class Way:
    """How a network is tested."""

    name: str
    precision: Precision
    layout: torch.memory_format
    folds: bool


WAYS = (
    Way("fp32, channels first", "fp32", torch.contiguous_format, folds=False),
    Way("folded, bf16, channels last", "bf16", torch.channels_last, folds=True),
)


def section(device: torch.device, sizes: Sizes) -> list[Measurement]:
    """The second way against the first."""
    taken: list[tuple[int, Timing]] = []

    def measurement(way: Way) -> Measurement:
        name = f"{TenCrop.name} of {sizes.tested} at {sizes.pixels}, {way.name}"

        def take() -> list[Row]:
            images, timing = halving(
                sizes.tested_images, lambda n: timed(testing(way, n, device, sizes), device, sizes.effort)
            )
            rival_images, rival = taken[0] if taken else (None, None)
            taken.append((images, timing))
            return [rate(f"evaluation: {name}", images, timing, rival, rival_images)]

        return Measurement(name, take)

    return [measurement(way) for way in WAYS]


def testing(way: Way, images: int, device: torch.device, sizes: Sizes) -> Callable[[], object]:
    """A function that tests `images` images, from the bytes of their crops to the errors."""
    set_arithmetic(way.precision)
    torch.backends.cudnn.benchmark = True
    generator = torch.Generator(device).manual_seed(0)
    shape = (images, 3, sizes.pixels, sizes.pixels)
    crops = [torch.randint(256, shape, generator=generator, device=device).to(torch.uint8) for _ in range(CROPS)]
    labels = torch.randint(CLASSES, (images,), generator=generator, device=device)
    mean = torch.full(shape[1:], 128.0, device=device)
    network = _network(way, device, sizes)

    def test() -> object:
        views = [view.contiguous(memory_format=way.layout) for view in pixels(crops, mean, flips=TenCrop.flips)]
        return evaluate([network], [(views, labels)], precision=way.precision)

    return test


def _network(way: Way, device: torch.device, sizes: Sizes) -> nn.Module:
    network = build(sizes.tested, CLASSES)
    initialise(network, 0)
    network.to(device)
    return folded(network) if way.folds else network
