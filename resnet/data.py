"""Small data sets: on the device as bytes, cropped and flipped there in batches (Sec. 4.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnet import sampling
from resnet.recipe import Recipe

Batch = tuple[Tensor, Tensor]  # (N, C, H, W) float32 channels-last, (N,) int64, both on the device


class TrainData(Protocol):
    """What training needs of a data set, whatever its size."""

    @property
    def size(self) -> int:
        """Images."""
        ...

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        """The batches of the iterations after `start` finished ones, without end."""
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

    def normalised(self, samples: Tensor | slice) -> Tensor:
        """Per-pixel mean subtracted, in units of 255 bytes: (N, C, H, W) float32."""
        return (self.images[samples].float() - self.mean).div_(255.0)


@dataclass(frozen=True, slots=True)
class Augmented:
    """The training split: random crops of the padded image, random flips."""

    split: Images

    @property
    def size(self) -> int:
        return self.split.size

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        iteration = start
        while True:
            yield self._batch(recipe, seed, iteration)
            iteration += 1

    def _batch(self, recipe: Recipe, seed: int, iteration: int) -> Batch:
        device = self.split.images.device
        rows, columns, picked = [], [], []
        height, width = self.split.images.shape[2:]
        for draw in sampling.batch(seed, iteration, recipe.batch_size, self.size):
            choices = sampling.choices(seed, draw.epoch, self.size)
            top = choices.offset(0, draw.samples, 2 * recipe.pad + 1)[:, None]
            left = choices.offset(1, draw.samples, 2 * recipe.pad + 1)[:, None]
            across = np.broadcast_to(np.arange(width), (len(draw.samples), width))
            if recipe.flip:
                across = np.where(choices.flip(draw.samples)[:, None], across[:, ::-1], across)
            rows.append(top + np.arange(height))
            columns.append(left + across)
            picked.append(draw.samples)
        indices = [torch.from_numpy(np.concatenate(a)).to(device, non_blocking=True) for a in (picked, rows, columns)]
        images = crop(self.split.normalised(indices[0]), indices[1], indices[2], recipe.pad)
        return images, self.split.labels[indices[0]]


def crop(images: Tensor, rows: Tensor, columns: Tensor, pad: int) -> Tensor:
    """Zero-pads by `pad` pixels and takes rows (N, H) and columns (N, W) of each image: one gather for a batch."""
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


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
