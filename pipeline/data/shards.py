"""Batches of photographs from memory-mapped Arrow shards, decoded by DataLoader workers (Sec. 3.4).

A worker receives the samples to decode together with their random choices, so that the batches are the same for any
number of workers and after a restart at any iteration. Training views are decoded at half scale, or less, where that is
still at least as fine as the view; test views never.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pipeline.data.images import opened, pixels, reduce
from pipeline.data.prepared import remedy
from pipeline.errors import UserError
from pipeline.records import SplitInfo
from resnet import crops, sampling
from resnet.distributed import ALONE, Workers, shard
from resnet.in_memory_data import Batch
from resnet.recipe import Recipe

PREFETCH = 4  # batches a worker is ahead

Item = crops.Pick | int  # a training view, or the test view of a sample
Decoded = tuple[Tensor, Tensor]  # (N, 3, SIZE, SIZE) uint8, channels last as the decoder left them; (N,) int64


class Shards:
    """One split. Each process opens the files for itself, as memory maps."""

    def __init__(self, folder: Path, info: SplitInfo) -> None:
        """Raises UserError for a file that is missing or of another size than the manifest's."""
        self.paths = [folder / file.path for file in info.files]
        for path, file in zip(self.paths, info.files, strict=True):
            if not path.is_file() or path.stat().st_size != file.bytes:
                raise UserError(f"{path}: missing or not {file.bytes} bytes long; {remedy(folder)}")
        self._images = info.images

    @cached_property
    def _columns(self) -> tuple[Any, Any]:
        """Images and labels as views of the memory-mapped files, not copies."""
        options = pa.ipc.IpcReadOptions(use_threads=False)
        readers = [pa.ipc.open_file(pa.memory_map(str(path)), options=options) for path in self.paths]
        table = pa.concat_tables([reader.read_all() for reader in readers])
        return table["image"], table["label"]

    def __len__(self) -> int:
        return self._images

    def encoded(self, sample: int) -> tuple[bytes, int]:
        """Returns the bytes of the image file, and its label."""
        images, labels = self._columns
        return images[sample].as_py(), labels[sample].as_py()

    def views(self, items: Sequence[Item]) -> Decoded:
        """Returns a batch, written view by view into one tensor; in a worker it is in shared memory."""
        images = torch.empty(len(items), crops.SIZE, crops.SIZE, 3, dtype=torch.uint8)
        if get_worker_info() is not None:
            images.untyped_storage().share_memory_()
        rows = images.numpy()
        labels = []
        for i, item in enumerate(items):
            content, label = self.encoded(item if isinstance(item, int) else item.sample)
            rows[i] = view(content, item)
            labels.append(label)
        return images.permute(0, 3, 1, 2), torch.tensor(labels, dtype=torch.int64)


def view(content: bytes, item: Item) -> NDArray[np.uint8]:
    """Returns what the network sees of an image file: (SIZE, SIZE, 3). Raises ValueError for a damaged one."""
    image = opened(content)
    if isinstance(item, int):
        return np.asarray(_resampled(image, crops.clean_view(image.height, image.width)))
    height, width = image.height, image.width
    box = crops.train_view(item, height, width)
    divisor = reduce(image, *crops.train_grid(item, height, width))
    left, top, right, bottom = (edge / divisor for edge in box)
    seen = _resampled(image, (left, top, right, bottom))
    return np.asarray(seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if item.flip else seen)


def _resampled(image: Image.Image, box: crops.Box) -> Image.Image:
    """Pillow resamples with integers, so that every machine gets the same bytes, and reads nothing outside the box."""
    return pixels(image)[0].resize((crops.SIZE, crops.SIZE), Image.Resampling.BILINEAR, box=box)


@dataclass
class _Calls(Dataset[Any]):
    function: Callable[[Any], Any]

    def __getitem__(self, item: Any) -> Any:
        return self.function(item)


def loader(
    decode: Callable[[Any], Any], batches: Iterable[Any], workers: int, device: torch.device, **options: Any
) -> DataLoader[Any]:
    """Returns `decode` of each item of `batches`, in their order, from worker processes or from this one."""
    return DataLoader(
        _Calls(decode),
        sampler=batches,
        batch_size=None,  # `decode` puts batches together
        num_workers=workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # so that starting workers draws nothing from the process's
        **({"prefetch_factor": PREFETCH, **options} if workers else {}),
    )


def _picks(recipe: Recipe, seed: int, start: int, size: int, own: slice) -> Iterator[list[crops.Pick]]:
    """Yields the `own` training views of each iteration after `start` finished ones, without end."""
    for iteration in itertools.count(start):
        draws = sampling.batch(seed, iteration, recipe.batch_size, size)
        choices = [(sampling.choices(seed, draw.epoch, size), draw.samples) for draw in draws]
        yield [pick for chosen, samples in choices for pick in crops.picks(chosen, samples, flip=recipe.flip)][own]


@dataclass
class ShardTrain:
    """The training split: random crops at random scales, flips, colours. Satisfies resnet.in_memory_data.TrainData."""

    shards: Shards
    mean: Tensor  # on the device, as `colour`
    colour: Tensor
    workers: int
    ranks: Workers = ALONE

    @property
    def size(self) -> int:
        return len(self.shards)

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        """Yields this rank's shard of each batch. Raises UserError for a recipe that pads: Sec. 3.4 has no padding."""
        if recipe.pad != 0:
            raise UserError(f"train.pad must be 0 where crops have random scales (Sec. 3.4), got {recipe.pad}")
        own, device = shard(self.ranks, recipe.batch_size), self.mean.device
        picks = _picks(recipe, seed, start, self.size, own)
        for iteration, (images, labels) in enumerate(loader(self.shards.views, picks, self.workers, device), start):
            draws = sampling.batch(seed, iteration, recipe.batch_size, self.size)
            strengths = [crops.colours(sampling.choices(seed, draw.epoch, self.size), draw.samples) for draw in draws]
            seen = crops.normalised(images.to(device, non_blocking=True), self.mean)
            colours = torch.cat(strengths)[own].to(device, non_blocking=True)
            yield crops.coloured(seen, colours, self.colour), labels.to(device, non_blocking=True)


@dataclass
class ShardEval:
    """A split in its own order (of several ranks, this one's shard of it), the test view of each image.

    Satisfies resnet.in_memory_data.EvalData.
    """

    shards: Shards
    mean: Tensor  # on the device
    workers: int
    ranks: Workers = ALONE
    _loaders: dict[int, DataLoader[Any]] = field(default_factory=dict)  # by batch size: their workers live on

    @property
    def samples(self) -> range:
        """The rows of this rank."""
        return range(len(self.shards))[shard(self.ranks, len(self.shards))]

    @property
    def size(self) -> int:
        return len(self.samples)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields each image of the shard once."""
        device = self.mean.device
        if batch_size not in self._loaders:
            rows = [self.samples[i : i + batch_size] for i in range(0, self.size, batch_size)]
            self._loaders[batch_size] = loader(self.shards.views, rows, self.workers, device, persistent_workers=True)
        for images, labels in self._loaders[batch_size]:
            seen = crops.normalised(images.to(device, non_blocking=True), self.mean)
            yield seen, labels.to(device, non_blocking=True)
