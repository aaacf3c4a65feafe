"""Large data sets: encoded images in memory-mapped Arrow shards, decoded in DataLoader workers (Sec. 3.4).

A worker is told which samples to decode and which random choices are theirs, so the batches are the same for any number
of workers and after a restart at any iteration. Training views are decoded at half scale, or less, where that is still
at least as fine as the view; test views never.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pipeline.datasets.images import opened, pixels, reduce
from pipeline.errors import UserError
from pipeline.store.records import SplitInfo
from resnet import sampling, views
from resnet.data import Batch
from resnet.recipe import Recipe
from resnet.workers import ALONE, Workers, share

PREFETCH = 4  # batches a worker is ahead

Item = views.Pick | int  # a training view, or the test view of a sample
Decoded = tuple[Tensor, Tensor]  # (N, 3, SIZE, SIZE) uint8, channels last as the decoder left them; (N,) int64


class Shards(Dataset[Decoded]):
    """One split. Files are opened when first read, in each process anew."""

    def __init__(self, folder: Path, info: SplitInfo, mend: str) -> None:
        """Raises UserError, which ends with `mend`, for a file that is missing, too short or no Arrow file."""
        self.paths = [folder / file.path for file in info.files]
        self.mend = mend
        for path, file in zip(self.paths, info.files, strict=True):
            if not path.is_file() or path.stat().st_size != file.bytes:
                raise UserError(f"{path}: missing or not {file.bytes} bytes long; {mend}")
        self._readers: dict[int, Any] = {}
        self._tables: dict[int, Any] = {}  # record batches by place: views of the mapped files, not copies
        self.places = [(i, j) for i in range(len(self.paths)) for j in range(self._reader(i).num_record_batches)]
        rows = [self._reader(i).get_batch(j).num_rows for i, j in self.places]
        self.ends = np.cumsum(rows)  # of the record batches, in samples
        self._readers.clear()
        if sum(rows) != info.images:
            raise UserError(f"{folder}: {sum(rows)} images in the shards, {info.images} in the manifest; {mend}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}, "_tables": {}}

    def __len__(self) -> int:
        return int(self.ends[-1])

    def _reader(self, shard: int) -> Any:
        if shard not in self._readers:
            path = self.paths[shard]
            try:
                source = pa.memory_map(str(path))
                self._readers[shard] = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            except (pa.ArrowInvalid, OSError) as error:
                raise UserError(f"{path}: no Arrow file ({str(error).splitlines()[0]}); {self.mend}") from None
        return self._readers[shard]

    def _table(self, place: int) -> Any:
        if place not in self._tables:
            shard, batch = self.places[place]
            self._tables[place] = self._reader(shard).get_batch(batch)
        return self._tables[place]

    def encoded(self, sample: int) -> tuple[bytes, int]:
        """The bytes of the image file, and its label."""
        place = int(np.searchsorted(self.ends, sample, side="right"))
        table = self._table(place)
        row = sample - (int(self.ends[place - 1]) if place else 0)
        return table.column("image")[row].as_py(), table.column("label")[row].as_py()

    def __getitems__(self, items: Sequence[Item]) -> Decoded:
        """A batch at once: each view goes straight to its place, in a worker in the memory shared with its owner."""
        images = torch.empty(len(items), views.SIZE, views.SIZE, 3, dtype=torch.uint8)
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
    """What the network sees of an image file: (SIZE, SIZE, 3). Raises ValueError for a damaged one."""
    image = opened(content)
    if isinstance(item, int):
        return np.asarray(_resampled(image, views.clean_view(image.height, image.width)))
    return np.asarray(_train_view(image, item))


def _train_view(image: Image.Image, pick: views.Pick) -> Image.Image:
    height, width = image.height, image.width
    left, top, right, bottom = views.train_view(pick, height, width)
    divisor = reduce(image, *views.train_grid(pick, height, width))
    seen = _resampled(image, (left / divisor, top / divisor, right / divisor, bottom / divisor))
    return seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if pick.flip else seen


def _resampled(image: Image.Image, box: views.Box) -> Image.Image:
    """Pillow resamples with integers, so that every machine gets the same bytes, and reads nothing outside the box."""
    return pixels(image)[0].resize((views.SIZE, views.SIZE), Image.Resampling.BILINEAR, box=box)


class _Picks:
    """The training views of each iteration after `start` finished ones, without end: this worker's share of them."""

    def __init__(self, recipe: Recipe, seed: int, start: int, size: int, own: slice) -> None:
        self.recipe, self.seed, self.start, self.size, self.own = recipe, seed, start, size, own

    def __iter__(self) -> Iterator[list[views.Pick]]:
        for iteration in itertools.count(self.start):
            draws = sampling.batch(self.seed, iteration, self.recipe.batch_size, self.size)
            choices = [(sampling.choices(self.seed, draw.epoch, self.size), draw.samples) for draw in draws]
            picks = [pick for own, samples in choices for pick in views.picks(own, samples, flip=self.recipe.flip)]
            yield picks[self.own]


class _InOrder:
    def __init__(self, samples: range, batch_size: int) -> None:
        self.samples, self.batch_size = samples, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.samples), self.batch_size):
            yield list(self.samples[start : start + self.batch_size])


def _as_it_is(batch: Any) -> Any:
    return batch


def _loader(shards: Shards, batches: Any, workers: int, device: torch.device) -> DataLoader[Decoded]:
    return DataLoader(
        shards,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        prefetch_factor=PREFETCH if workers else None,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # its own, so that starting workers draws nothing from the process's
    )


class ShardTrain:
    """The training split: random crops at random scales, flips, colours. Satisfies resnet.data.TrainData."""

    def __init__(
        self,
        shards: Shards,
        mean: Tensor,
        colour: Tensor,
        device: torch.device,
        workers: int,
        together: Workers = ALONE,
    ) -> None:
        self.shards, self.device, self.workers, self.together = shards, device, workers, together
        self.mean, self.colour = mean.to(device), colour.to(device)

    @property
    def size(self) -> int:
        return len(self.shards)

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        """Raises UserError for a recipe that pads: crops at random scales (Sec. 3.4) have no padding."""
        if recipe.pad != 0:
            raise UserError(f"train.pad must be 0 where crops have random scales (Sec. 3.4), got {recipe.pad}")
        picks = _Picks(recipe, seed, start, self.size, share(self.together, recipe.batch_size))
        loader = _loader(self.shards, picks, self.workers, self.device)
        for iteration, (images, labels) in enumerate(loader, start):
            yield self._finished(images, recipe, seed, iteration), labels.to(self.device, non_blocking=True)

    def _finished(self, images: Tensor, recipe: Recipe, seed: int, iteration: int) -> Tensor:
        draws = sampling.batch(seed, iteration, recipe.batch_size, self.size)
        strengths = [views.colours(sampling.choices(seed, draw.epoch, self.size), draw.samples) for draw in draws]
        own = torch.cat(strengths)[share(self.together, recipe.batch_size)]
        images = views.normalised(images.to(self.device, non_blocking=True), self.mean)
        return views.coloured(images, own.to(self.device, non_blocking=True), self.colour)


class ShardEval:
    """A split (this worker's share) in its own order, the test view of each image. Satisfies resnet.data.EvalData."""

    def __init__(
        self, shards: Shards, mean: Tensor, device: torch.device, workers: int, together: Workers = ALONE
    ) -> None:
        self.shards, self.mean, self.device, self.workers = shards, mean.to(device), device, workers
        self.samples = range(len(shards))[share(together, len(shards))]
        self._loaders: dict[int, DataLoader[Decoded]] = {}  # by batch size: their workers live on between evaluations

    @property
    def size(self) -> int:
        return len(self.samples)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        if batch_size not in self._loaders:
            in_order = _InOrder(self.samples, batch_size)
            self._loaders[batch_size] = _loader(self.shards, in_order, self.workers, self.device)
        for images, labels in self._loaders[batch_size]:
            images = images.to(self.device, non_blocking=True)
            yield views.normalised(images, self.mean), labels.to(self.device, non_blocking=True)
