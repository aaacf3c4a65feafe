"""Photographs in Arrow shards as the paper's other protocols see them: ten crops, or the whole image at several scales.

Beside pipeline.loading.shards and not in it: what changes here changes no run's key.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.datasets.images import decode
from pipeline.loading.shards import Shards
from resnet.protocols import Grid, Testing, Viewed, pixels

CHUNK = 16  # images that are decoded, and grouped by size, together; decides no result
PREFETCH = 2  # chunks a worker is ahead

Seen = tuple[list[NDArray[np.uint8]], int]  # each view, (H, W, 3), and the label
Layout = list[tuple[int, list[Grid]]]  # of each group of images: how many, and the sizes of their views
Packed = tuple[Tensor, Layout, Tensor]  # all bytes, group by group and view by view; labels in the same order


class _Views(Dataset[Seen]):
    def __init__(self, shards: Shards, testing: Testing) -> None:
        self.shards, self.testing = shards, testing

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, sample: int) -> Seen:
        content, label = self.shards.encoded(sample)
        image, _ = decode(content)
        views = [
            np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR, box=box))
            for box, (rows, columns) in self.testing.views(image.height, image.width)
        ]
        return views, label


def _packed(rows: Sequence[Seen]) -> Packed:
    """Images whose views have the same sizes together. One tensor of bytes, for each costs a file descriptor."""
    groups: dict[tuple[Grid, ...], list[Seen]] = {}
    for row in rows:
        groups.setdefault(tuple((view.shape[0], view.shape[1]) for view in row[0]), []).append(row)
    layout = [(len(group), list(sizes)) for sizes, group in groups.items()]
    order = [row for group in groups.values() for row in group]
    parts = [np.stack(view).ravel() for group in groups.values() for view in zip(*(v for v, _ in group), strict=True)]
    return torch.from_numpy(np.concatenate(parts)), layout, torch.tensor([label for _, label in order])


def _groups(packed: Packed) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Views (N, 3, H, W) uint8, channels last as the decoder left them, and labels."""
    content, layout, labels = packed
    at = first = 0
    for count, sizes in layout:
        views = []
        for rows, columns in sizes:
            length = count * rows * columns * 3
            views.append(content[at : at + length].view(count, rows, columns, 3).permute(0, 3, 1, 2))
            at += length
        yield views, labels[first : first + count]
        first += count


class ShardViews:
    """A split, or some samples of it, as batches for resnet.protocols.evaluate."""

    def __init__(self, shards: Shards, mean: Tensor, device: torch.device, workers: int) -> None:
        self.shards, self.mean, self.device, self.workers = shards, mean.to(device), device, workers

    def batches(self, testing: Testing, samples: Sequence[int] | None = None) -> Iterator[Viewed]:
        """Each of `samples` once, by default all; in a batch all images have one size."""
        chosen = list(range(len(self.shards)) if samples is None else samples)
        loader: DataLoader[Seen] = DataLoader(
            _Views(self.shards, testing),
            batch_sampler=[chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK)],
            num_workers=self.workers,
            collate_fn=_packed,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=PREFETCH if self.workers else None,
            generator=torch.Generator(),  # its own, so that starting workers draws nothing from the process's
        )
        for content, layout, labels in loader:
            packed = content.to(self.device, non_blocking=True), layout, labels.to(self.device, non_blocking=True)
            for views, own in _groups(packed):
                yield pixels(views, self.mean, flips=testing.flips), own
