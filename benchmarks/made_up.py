"""Images without meaning: speed does not depend on what they show."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CLASSES = 10
SMALL = 32  # pixels a side, as in CIFAR-10
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's colours, in units of 255 bytes


def small(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Random bytes (count, 3, 32, 32) and labels (count,)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    images = generator.integers(0, 256, (count, 3, SMALL, SMALL), dtype=np.uint8)
    return images, generator.integers(0, CLASSES, count)


def batch(count: int, size: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Standard normal images (count, 3, size, size), NCHW in memory too, and labels (count,)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, size, size, generator=generator)
    return images, torch.randint(classes, (count,), generator=generator)
