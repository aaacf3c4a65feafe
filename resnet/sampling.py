"""The random choices of training: which images an iteration sees, and how each is cropped and flipped.

Every choice is a function of (seed, epoch, sample index) only, never of the worker count, the device, a restart or
earlier draws. The bits come from Philox, a counter-based generator whose raw stream is fixed by its publication (Salmon
et al. 2011), so that they do not change with the version of numpy.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

STREAMS = 9  # rows of random bits: order, vertical offset, horizontal offset, flip, scale, four for the colour


@dataclass(frozen=True, slots=True)
class Choices:
    """Random bits of one epoch, (STREAMS, size), indexed by sample."""

    order: NDArray[np.int64]  # (size,) a permutation of the samples
    bits: NDArray[np.uint64]  # (STREAMS, size)

    def offset(self, axis: int, samples: NDArray[np.int64], sizes: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns uniform integers in [0, sizes), one a sample; axis 0 is vertical, 1 horizontal."""
        drawn: NDArray[np.uint64] = self.bits[1 + axis, samples] % np.asarray(sizes, dtype=np.uint64)
        return drawn.astype(np.int64)

    def flip(self, samples: NDArray[np.int64]) -> NDArray[np.bool_]:
        drawn: NDArray[np.uint64] = self.bits[3, samples] >> np.uint64(63)
        return drawn.astype(np.bool_)

    def unit(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns uniform numbers in [0, 1), one a sample: the scale of Sec. 3.4."""
        return uniform(self.bits[4, samples])

    def normals(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns three independent standard normals a sample, (n, 3): the colours of Sec. 3.4."""
        first, second, third, fourth = uniform(self.bits[5:9, samples])
        return np.stack([*normal_pair(first, third), normal_pair(second, fourth)[0]], 1)


def uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turns 64 random bits each into numbers in [0, 1)."""
    return np.ldexp((bits >> np.uint64(11)).astype(np.float64), -53)


def normal_pair(u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turns independent uniform numbers in [0, 1) into independent standard normals (Box and Muller 1958)."""
    radius, angle = np.sqrt(-2.0 * np.log1p(-u)), 2.0 * np.pi * v  # 1 - u is never 0
    return radius * np.cos(angle), radius * np.sin(angle)


@lru_cache(maxsize=2)
def choices(seed: int, epoch: int, size: int) -> Choices:
    """Returns all choices of an epoch over `size` samples."""
    bits = np.random.Philox(key=[seed, epoch]).random_raw(STREAMS * size).reshape(STREAMS, size)
    order = np.argsort(bits[0], kind="stable")
    for shared in (order, bits):  # by all callers, through the cache
        shared.setflags(write=False)
    return Choices(order=order, bits=bits)


@dataclass(frozen=True, slots=True)
class Draw:
    """The samples of one iteration that belong to one epoch."""

    epoch: int
    samples: NDArray[np.int64]


def batch(seed: int, iteration: int, batch_size: int, size: int) -> list[Draw]:
    """Returns the samples of the iteration after `iteration` finished ones.

    Epochs follow one another without a gap: a batch may end one and begin the next, so that each sample is used
    exactly once an epoch.
    """
    draws: list[Draw] = []
    position, end = iteration * batch_size, (iteration + 1) * batch_size
    while position < end:
        epoch, start = divmod(position, size)
        stop = min(size, start + end - position)
        draws.append(Draw(epoch, choices(seed, epoch, size).order[start:stop]))
        position += stop - start
    return draws
