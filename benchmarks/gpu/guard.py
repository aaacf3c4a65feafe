"""What bf16 costs in accuracy: the final errors of ResNet-20 in both formats, over seeds, on made-up images.

The difference of the means is to lie within the seeds' standard deviation, pooled over both formats. With five seeds
and no true difference it lies outside about once in seven times; then more seeds are to be looked at, not another bar.
"""

import math
import statistics

import torch

from benchmarks.gpu.loop import recipe
from benchmarks.gpu.patterns import CLASSES, splits
from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.rows import Row
from benchmarks.gpu.sizes import Sizes, cifar
from resnet.data import Augmented, Clean, Images
from resnet.precision import set_arithmetic
from resnet.recipe import Precision
from resnet.training import start, train

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def section(device: torch.device, sizes: Sizes) -> list[Measurement]:
    """One measurement a seed, in both formats; the rows are over the seeds so far."""
    data = splits(sizes.guarded_images, sizes.guarded_images, device)
    errors: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}

    def measurement(seed: int) -> Measurement:
        def take() -> list[Row]:
            found = {precision: final_error(precision, seed, data, device, sizes) for precision in PRECISIONS}
            for precision, error in found.items():
                errors[precision].append(error)
            return rows(f"precision-guard: resnet-{sizes.depths[0]}", errors, device)

        return Measurement(f"seed {seed}", take)

    return [measurement(seed) for seed in range(sizes.seeds)]


def final_error(
    precision: Precision, seed: int, data: tuple[Images, Images], device: torch.device, sizes: Sizes
) -> float:
    """Top-1, in per cent of the test split, after a training in which the rate drops as in Sec. 4.2."""
    set_arithmetic(precision)
    n = sizes.guarded_iterations
    plan = recipe(sizes.batch, precision, n, lr_drops=(n // 2, 3 * n // 4))
    run = start(cifar(sizes.depths[0]), plan, classes=CLASSES, channels=3, seed=seed, device=device)
    for _ in train(run, plan, seed, Augmented(data[0]), Clean(data[1])):
        pass
    error = run.rows[-1].val_top1_error_percent
    if error is None or run.diverged:
        raise RuntimeError(f"seed {seed} in {precision} diverged")
    return error


def rows(name: str, errors: dict[Precision, list[float]], device: torch.device) -> list[Row]:
    """A standard deviation needs two seeds."""
    slow, fast = errors["fp32"], errors["bf16"]
    if len(fast) < 2:
        return []
    ours, rival = statistics.fmean(fast), statistics.fmean(slow)
    pooled = math.sqrt((statistics.variance(slow) + statistics.variance(fast)) / 2)
    difference = abs(ours - rival)
    return [
        Row(
            name=f"{name}, bf16 against fp32",
            unit="% error",
            ours=ours,
            rival=rival,
            ratio=rival / ours if ours else None,
        ),
        Row(
            name=f"{name}, difference of the means",
            unit="points",
            ours=difference,
            gate=pooled,
            holds=difference <= pooled if device.type == "cuda" else None,
        ),
        Row(name=f"{name}, seeds of each", unit="seeds", ours=len(fast)),
    ]
