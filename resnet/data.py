"""Small data sets: on the device as bytes, cropped and flipped there in batches (Sec. 4.2)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from resnet import sampling
from resnet.recipe import Recipe
from resnet.windows import Padded, Windows
from resnet.workers import ALONE, Workers, share

Batch = tuple[Tensor, Tensor]  # (N, C, H, W) float32 channels-last, (N,) int64, both on the device


class TrainData(Protocol):
    """What training needs of a data set, whatever its size."""

    @property
    def size(self) -> int:
        """Images."""
        ...

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        """The batches of the iterations after `start` finished ones, without end; of each, this worker's share."""
        ...


class EvalData(Protocol):
    @property
    def size(self) -> int: ...

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Every image once, in the data set's order; the last batch may be smaller."""
        ...


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
        """Per-pixel mean subtracted, in units of 255 bytes: (N, C, H, W) float32."""
        return (self.images[samples].float() - self.mean).div_(255.0)


@dataclass(frozen=True, slots=True)
class Augmented:
    """The training split: random crops of the padded image, random flips. Batches are this worker's shares."""

    split: Images
    workers: Workers = ALONE

    @property
    def size(self) -> int:
        return self.split.size

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        padded = Padded.of(self.split.images, self.split.mean, recipe.pad, flip=recipe.flip)
        for iteration in itertools.count(start):
            windows = self._windows(padded, recipe, seed, iteration)
            yield padded.batch(windows), self.split.labels[windows.samples]

    def _windows(self, padded: Padded, recipe: Recipe, seed: int, iteration: int) -> Windows:
        samples, top, left, flips = [], [], [], []
        places = 2 * recipe.pad + 1
        for draw in sampling.batch(seed, iteration, recipe.batch_size, self.size):
            choices = sampling.choices(seed, draw.epoch, self.size)
            samples.append(draw.samples)
            top.append(choices.offset(0, draw.samples, places))
            left.append(choices.offset(1, draw.samples, places))
            flips.append(choices.flip(draw.samples) & recipe.flip)
        own = share(self.workers, recipe.batch_size)
        seen, rows, columns = (np.concatenate(drawn)[own] for drawn in (samples, top, left))
        return padded.windows(seen, rows, columns, np.concatenate(flips)[own])


@dataclass(frozen=True, slots=True)
class Clean:
    """A split as it is: the single view of Sec. 4.2."""

    split: Images

    @property
    def size(self) -> int:
        return self.split.size

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for start in range(0, self.size, batch_size):
            samples = slice(start, start + batch_size)
            images = self.split.normalised(samples).contiguous(memory_format=torch.channels_last)
            yield images, self.split.labels[samples]
