"""A tree of image files as batches for a network, decoded by DataLoader workers and preprocessed as its authors did."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.data.image_tree import ImageFile
from pipeline.data.images import MAX_PIXELS, decode
from pipeline.data.shards import loader
from pipeline.errors import UserError
from resnet.in_memory_data import Batch
from resnet.preprocessing import Preprocessing

# (N, 3, crop, crop) uint8, channels last as decoded, and (N,) int64; or what is wrong with the first unreadable file
Loaded = tuple[Tensor, Tensor] | str


@dataclass
class Photographs:
    """Every image of a tree once, in its order. Satisfies resnet.in_memory_data.EvalData."""

    images: Sequence[ImageFile]
    how: Preprocessing
    mean: Tensor | None  # of the training images; None where `how` has its own
    device: torch.device
    workers: int

    @property
    def size(self) -> int:
        return len(self.images)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields all images. Raises UserError for the first one that cannot be read."""
        mean = None if self.mean is None else self.mean.to(self.device)
        rows = [range(i, min(i + batch_size, self.size)) for i in range(0, self.size, batch_size)]
        for loaded in loader(partial(_decoded, self.images, self.how), rows, self.workers, self.device):
            if isinstance(loaded, str):
                raise UserError(f"{loaded}; replace or remove it")
            images = loaded[0].to(self.device, non_blocking=True)
            yield self.how.numbers(images, mean), loaded[1].to(self.device, non_blocking=True)


def view(image: Image.Image, how: Preprocessing) -> NDArray[np.uint8]:
    """Returns what a network sees of an RGB image: (crop, crop, 3). Raises ValueError where resizing takes too much
    memory."""
    filtering = Image.Resampling[how.interpolation.upper()]
    side = how.crop
    if how.geometry == "crop":
        return np.asarray(image.resize((side, side), filtering, box=how.box(image.height, image.width)))
    rows, columns = how.resized(image.height, image.width)
    if rows * columns > MAX_PIXELS:
        raise ValueError(f"{columns}x{rows} pixels when resized, at most {MAX_PIXELS} are made")
    top, left = how.corner(rows, columns)
    return np.asarray(image.resize((columns, rows), filtering).crop((left, top, left + side, top + side)))


def _decoded(images: Sequence[ImageFile], how: Preprocessing, rows: Sequence[int]) -> Loaded:
    """Returns a mistake and does not raise it: DataLoader would put a worker's traceback around the one line."""
    files, views = [images[row] for row in rows], []
    for file in files:
        try:
            views.append(view(decode(Path(file.path).read_bytes())[0], how))
        except (OSError, ValueError) as error:
            return f"{file.path}: {getattr(error, 'strerror', None) or error}"
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), torch.tensor([file.label for file in files])
