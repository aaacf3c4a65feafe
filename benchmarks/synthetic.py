"""Random images: speed does not depend on what they show."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CLASSES = 10
SMALL = 32  # pixels on each side, as in CIFAR-10


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one call on small images does, of ours and of the baseline."""

    batch: int = 128  # images
    steps: int = 4
    epoch: int = 79  # batches: 10,112 images


def sizes(quick: bool) -> Sizes:
    return Sizes(batch=4, steps=1, epoch=2) if quick else Sizes()


def small_images(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns random bytes (count, 3, 32, 32) and labels (count,)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    images = generator.integers(0, 256, (count, 3, SMALL, SMALL), dtype=np.uint8)
    return images, generator.integers(0, CLASSES, count)


def batch(count: int, size: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns standard normal images (count, 3, size, size), contiguous NCHW, and labels (count,)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, size, size, generator=generator)
    return images, torch.randint(classes, (count,), generator=generator)


def batches(number: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Returns several batches of small images."""
    return [batch(count, SMALL, CLASSES, seed) for seed in range(number)]
