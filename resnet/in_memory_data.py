"""Small data sets, held on the device as bytes; batches of random crops and flips are made there (Sec. 4.2).

Padding with zeros after the mean is subtracted equals padding image and mean with zeros before it: 0 - 0 is exactly 0.
So an image is padded once, as bytes, next to its mirror image where images are flipped: a crop, flipped or not, is then
a run of neighbouring bytes for each of its rows, and a batch is one gather.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from resnet import sampling
from resnet.distributed import ALONE, Workers, shard
from resnet.recipe import Recipe

Batch = tuple[Tensor, Tensor]  # (N, C, H, W) float32 channels-last, (N,) int64, both on the device
Choice = NDArray[np.int64]  # (n,), one number for each image of a batch


class TrainData(Protocol):
    """The training split of a data set of any size."""

    @property
    def size(self) -> int:
        """Images."""
        ...

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        """Yields the batches of the iterations after `start` finished ones, without end: this worker's shards."""
        ...


class EvalData(Protocol):
    """A split of any size, for evaluation."""

    @property
    def size(self) -> int: ...

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields every image once, in the data set's order; the last batch may be smaller."""
        ...


@dataclass(frozen=True, slots=True)
class First:
    """The first images of a split, at most `limit`: its order is that of content, so they are a fair sample."""

    split: EvalData
    limit: int

    @property
    def size(self) -> int:
        return min(self.limit, self.split.size)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        left = self.size
        for images, labels in self.split.batches(min(batch_size, left)):
            yield images[:left], labels[:left]
            left -= len(labels)
            if left <= 0:
                return


@dataclass(frozen=True, slots=True)
class Images:
    """A split of a small data set, held on one device."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    mean: Tensor  # (C, H, W) float32, the per-pixel mean of the training split, in units of a byte

    @property
    def size(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Images":
        return Images(self.images.to(device), self.labels.to(device), self.mean.to(device))

    def part(self, samples: slice) -> "Images":
        return Images(self.images[samples], self.labels[samples], self.mean)

    def normalised(self, samples: Tensor | slice) -> Tensor:
        """Subtracts the per-pixel mean, in units of 255 bytes: (N, C, H, W) float32."""
        return (self.images[samples].float() - self.mean).div_(255.0)


@dataclass(frozen=True, slots=True)
class Crops:
    """The crop of each image of a batch; all on the images' device."""

    samples: Tensor  # (n,) int64
    first: Tensor  # (n,) int64, the byte of PaddedImages.rows at which the crop begins
    means: Tensor  # (n,) int64, the row of PaddedImages.means that belongs to the crop


@dataclass(frozen=True, slots=True)
class PaddedImages:
    """A split of small images, ready to be cropped; on the device of the images."""

    size: tuple[int, int, int]  # H, W, C
    pad: int
    copies: int  # 2: an image, then its mirror image; 1: images only
    rows: Tensor  # (bytes, W * C) uint8, overlapping: a row of a crop begins at any byte, and each byte is held once
    row_offsets: Tensor  # (H,) int64, from the first byte of a crop to that of each of its rows
    means: Tensor  # (2 * (2 pad + 1)^2, H * W * C) float32: the mean as each crop sees it, then the same mirrored

    @classmethod
    def of(cls, images: Tensor, mean: Tensor, pad: int, *, flip: bool) -> Self:
        """Pads (N, C, H, W) uint8 and the per-pixel mean (C, H, W) float32."""
        number, channels, height, width = images.shape
        high, wide, copies = height + 2 * pad, width + 2 * pad, 2 if flip else 1
        padded = images.new_zeros(number, copies, high, wide, channels)
        inner = padded[:, :, pad : pad + height, pad : pad + width]
        inner[:, 0] = images.permute(0, 2, 3, 1)
        if flip:
            inner[:, 1] = images.permute(0, 2, 3, 1).flip(2)
        row = width * channels
        rows = padded.as_strided((padded.numel() - row + 1, row), (1, 1))
        row_offsets = torch.arange(height, device=images.device) * (wide * channels)
        means = _all_crops(F.pad(mean.permute(1, 2, 0), (0, 0, pad, pad, pad, pad)), pad)
        both = torch.stack([means, means.flip(3)])
        return cls((height, width, channels), pad, copies, rows, row_offsets, both.reshape(2 * (2 * pad + 1) ** 2, -1))

    def crops(self, samples: Choice, top: Choice, left: Choice, mirrored: NDArray[np.bool_]) -> Crops:
        """Locates the crops at (top, left), each from 0 to 2 pad. One copy to the device, without waiting for it."""
        height, width, channels = self.size
        high, wide, offsets = height + 2 * self.pad, width + 2 * self.pad, 2 * self.pad + 1
        column = np.where(mirrored, 2 * self.pad - left, left)
        first = (((samples * self.copies + mirrored) * high + top) * wide + column) * channels
        means = (mirrored * offsets + top) * offsets + left
        host = torch.from_numpy(np.stack([samples, first, means]))
        return Crops(*host.to(self.rows.device, non_blocking=True))

    def batch(self, crops: Crops) -> Tensor:
        """Returns the crops less the mean, in units of 255 bytes: (n, C, H, W) float32, channels last."""
        rows = (crops.first[:, None] + self.row_offsets).view(-1)
        seen = self.rows.index_select(0, rows).view(-1, self.means.shape[1])
        mean = self.means.index_select(0, crops.means)
        return seen.float().sub_(mean).div_(255.0).view(-1, *self.size).permute(0, 3, 1, 2)


def _all_crops(padded: Tensor, pad: int) -> Tensor:
    """Views (H + 2 pad, W + 2 pad, C) as (2 pad + 1, 2 pad + 1, H, W, C), without a copy."""
    height, width, channels = padded.shape
    offsets = 2 * pad + 1
    padded = padded.contiguous()
    row, column, channel = padded.stride()
    return padded.as_strided(
        (offsets, offsets, height - 2 * pad, width - 2 * pad, channels), (row, column, row, column, channel)
    )


@dataclass(frozen=True, slots=True)
class TrainBatches:
    """The training split as this worker's shards of batches: random crops of the padded image, random flips."""

    split: Images
    workers: Workers = ALONE

    @property
    def size(self) -> int:
        return self.split.size

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        padded = PaddedImages.of(self.split.images, self.split.mean, recipe.pad, flip=recipe.flip)
        for iteration in itertools.count(start):
            crops = self._crops(padded, recipe, seed, iteration)
            yield padded.batch(crops), self.split.labels[crops.samples]

    def _crops(self, padded: PaddedImages, recipe: Recipe, seed: int, iteration: int) -> Crops:
        samples, top, left, flips = [], [], [], []
        offsets = 2 * recipe.pad + 1
        for draw in sampling.batch(seed, iteration, recipe.batch_size, self.size):
            choices = sampling.choices(seed, draw.epoch, self.size)
            samples.append(draw.samples)
            top.append(choices.offset(0, draw.samples, offsets))
            left.append(choices.offset(1, draw.samples, offsets))
            flips.append(choices.flip(draw.samples) & recipe.flip)
        own = shard(self.workers, recipe.batch_size)
        seen, rows, columns = (np.concatenate(drawn)[own] for drawn in (samples, top, left))
        return padded.crops(seen, rows, columns, np.concatenate(flips)[own])


@dataclass(frozen=True, slots=True)
class EvalBatches:
    """A split without augmentation: the single view of Sec. 4.2."""

    split: Images

    @property
    def size(self) -> int:
        return self.split.size

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for start in range(0, self.size, batch_size):
            samples = slice(start, start + batch_size)
            images = self.split.normalised(samples).contiguous(memory_format=torch.channels_last)
            yield images, self.split.labels[samples]
