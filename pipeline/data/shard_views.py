"""Photographs in shards as the paper's other protocols see them: ten crops, or the whole image at several scales.

Separate from pipeline.data.shards, because a change here must not change the key of any run.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.data.images import decode
from pipeline.data.shards import Shards, loader
from resnet.protocols import Testing, Viewed, pixels

CHUNK = 16  # images that are decoded, and grouped by size, together; decides no result
PREFETCH = 2  # chunks a worker is ahead

Shape = tuple[int, ...]  # (N, H, W, 3)
Packed = tuple[Tensor, list[list[Shape]], Tensor]  # all bytes; by group, the shapes of its views; labels in that order


@dataclass
class ShardViews:
    """A split, or some samples of it, as batches for resnet.protocols.evaluate_views."""

    shards: Shards
    mean: Tensor  # on the device
    workers: int

    def batches(self, testing: Testing, samples: Sequence[int] | None = None) -> Iterator[Viewed]:
        """Yields each of `samples` once, by default all; in a batch all images have one size."""
        chosen = range(len(self.shards)) if samples is None else samples
        chunks = [chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK)]
        decoded, device = partial(_packed, self.shards, testing), self.mean.device
        for content, groups, labels in loader(decoded, chunks, self.workers, device, prefetch_factor=PREFETCH):
            views = iter(content.to(device, non_blocking=True).split([math.prod(s) for group in groups for s in group]))
            own = labels.to(device, non_blocking=True).split([group[0][0] for group in groups])
            for group, label in zip(groups, own, strict=True):
                seen = [next(views).view(shape).permute(0, 3, 1, 2) for shape in group]
                yield pixels(seen, self.mean, flips=testing.flips), label


def _packed(shards: Shards, testing: Testing, samples: Sequence[int]) -> Packed:
    """Groups images whose views have the same sizes. One tensor holds all bytes: each one costs a file descriptor."""
    groups: dict[tuple[Shape, ...], list[tuple[list[NDArray[np.uint8]], int]]] = {}
    for sample in samples:
        content, label = shards.encoded(sample)
        image, _ = decode(content)
        views = [
            np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR, box=box))
            for box, (rows, columns) in testing.views(image.height, image.width)
        ]
        groups.setdefault(tuple(view.shape for view in views), []).append((views, label))
    shapes = [[(len(group), *shape) for shape in sizes] for sizes, group in groups.items()]
    parts = [np.stack(view).ravel() for group in groups.values() for view in zip(*(v for v, _ in group), strict=True)]
    labels = [label for group in groups.values() for _, label in group]
    return torch.from_numpy(np.concatenate(parts)), shapes, torch.tensor(labels)
