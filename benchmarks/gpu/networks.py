"""Training at 224 pixels: images a second, and shares of what the device could do.

Our loop in bf16, channels last, on one batch that stays on the device; cuDNN chooses its algorithms by trying them.

Two models of the least time that a step can take, with the peaks that `benchmarks.gpu.calibrate` measures:

* compute: 6 floating-point operations for each multiply-add of the forward pass (2 there, 4 in the backward pass), at
  the speed of a large matrix product in bf16;
* memory: PASSES times the outputs of all convolutions, 2 bytes each, at the speed of a copy. Let a convolution and its
  batch normalisation with ReLU be one kernel each in either direction (normalisation reads twice, for the sums must be
  known first), y the output of the convolution and z that of the normalisation. Forward: write y; read y; read y, write
  z; read z: 5. Backward: read dz and y for the sums; read dz and y, write dy; read dy, write dz; read dy and z for the
  weights: 9. Additions, pooling, weights and images are left out, so that a step moves more than this.
"""

import math
from collections.abc import Callable
from functools import cache

import torch

from benchmarks.gpu import calibrate
from benchmarks.gpu.clock import Timing, halving, timed
from benchmarks.gpu.loop import Held, Prepare, compiling, training
from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.rows import Row, rate
from benchmarks.gpu.sizes import Sizes
from resnet import architecture, count
from resnet.precision import set_arithmetic
from resnet.roofline import FORWARD_AND_BACKWARD

PASSES = 14
CLASSES = 1000
OPERATIONS = 2 * FORWARD_AND_BACKWARD  # for each multiply-add of the forward pass


def section(device: torch.device, sizes: Sizes) -> list[Measurement]:
    """First every network as it is, then, as that takes minutes, compiled, with itself as it is for the rival."""
    batches = dict(sizes.networks)
    eager: dict[str, tuple[int, Timing]] = {}

    def measurement(network: str, how: str, prepare: Callable[[], Prepare | None]) -> Measurement:
        name = f"{network} at {sizes.pixels}, {how}"

        def take() -> list[Row]:
            rival_batch, rival = eager.get(network, (batches[network], None))
            batch, timing = halving(rival_batch, lambda n: step(network, n, device, sizes, prepare()))
            speed = rate(f"networks-224: {name}", batch, timing, rival, rival_batch)
            if how == "eager":
                eager[network] = batch, timing
                return [speed, *shares(speed, network, device, sizes)]
            first = Row(name=f"{speed.name}: first iteration", unit="s", ours=timing.first_s)
            return [speed, *shares(speed, network, device, sizes), first]

        return Measurement(name, take)

    plan = [measurement(network, "eager", lambda: None) for network in batches]
    for network in sizes.compiled:
        plan.append(measurement(network, "compiled", lambda: compiling(sizes.backend)))
    for network in sizes.compiled[:1]:  # against a regression of backward passes, pytorch#189239
        forced = "compiled with force_layout_optimization"
        plan.append(measurement(network, forced, lambda: compiling(sizes.backend, force_layout_optimization=True)))
    return plan


def step(network: str, batch: int, device: torch.device, sizes: Sizes, prepare: Prepare | None) -> Timing:
    set_arithmetic("bf16")
    torch.backends.cudnn.benchmark = True
    generator = torch.Generator(device).manual_seed(0)
    images = torch.randn(batch, 3, sizes.pixels, sizes.pixels, generator=generator, device=device)
    labels = torch.randint(CLASSES, (batch,), generator=generator, device=device)
    held = Held((images.contiguous(memory_format=torch.channels_last), labels))
    work = training(architecture(network), held, device, classes=CLASSES, batch_size=batch, prepare=prepare)
    return timed(work, device, sizes.effort)


def shares(speed: Row, network: str, device: torch.device, sizes: Sizes) -> list[Row]:
    """Of what either model allows."""
    operations, moved = per_image(network, sizes.pixels)
    flops, bandwidth = peaks(device, sizes)
    return [
        Row(name=f"{speed.name}: share of the compute roofline", unit="share", ours=speed.ours * operations / flops),
        Row(name=f"{speed.name}: share of the memory roofline", unit="share", ours=speed.ours * moved / bandwidth),
    ]


def per_image(network: str, pixels: int) -> tuple[float, float]:
    """Floating-point operations and bytes of a training step for each image, by the models above."""
    counted = count(network, classes=CLASSES, size=pixels)
    convolutions = [layer for layer in counted.layers if layer.multiply_adds and len(layer.output) == 3]
    outputs = sum(math.prod(layer.output) for layer in convolutions)
    return OPERATIONS * counted.multiply_adds, PASSES * 2 * outputs


@cache
def peaks(device: torch.device, sizes: Sizes) -> tuple[float, float]:
    """Floating-point operations and bytes a second."""
    return calibrate.product(device, sizes, "bf16").ours * 1e12, calibrate.copy(device, sizes).ours * 1e9
