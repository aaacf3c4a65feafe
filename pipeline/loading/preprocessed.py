"""A tree of photographs as batches for a network, decoded in DataLoader workers and preprocessed as asked."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.datasets.images import MAX_FILE, MAX_PIXELS, decode
from pipeline.datasets.tree import Found
from pipeline.errors import EnvironmentFault, UserError
from resnet.data import Batch
from resnet.preprocessing import Preprocessing

PREFETCH = 2  # batches a worker is ahead

Item = tuple[NDArray[np.uint8], int] | str  # (crop, crop, 3) and the label; or what is wrong with the file
Loaded = tuple[Tensor, Tensor] | str


def view(image: Image.Image, how: Preprocessing) -> NDArray[np.uint8]:
    """What a network sees of an RGB image: (crop, crop, 3). Raises ValueError where resizing takes too much memory."""
    filtering = Image.Resampling[how.interpolation.upper()]
    side = how.crop
    if how.geometry == "crop":
        return np.asarray(image.resize((side, side), filtering, box=how.box(image.height, image.width)))
    rows, columns = how.resized(image.height, image.width)
    if rows * columns > MAX_PIXELS:
        raise ValueError(f"{columns}x{rows} pixels when resized, at most {MAX_PIXELS} are made")
    top, left = how.corner(rows, columns)
    return np.asarray(image.resize((columns, rows), filtering).crop((left, top, left + side, top + side)))


class _Photographs(Dataset[Item]):
    """A mistake is returned and not raised: DataLoader would wrap its one line into a worker's traceback."""

    def __init__(self, found: Sequence[Found], how: Preprocessing) -> None:
        self.found, self.how = found, how

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index: int) -> Item:
        one = self.found[index]
        try:
            with open(one.path, "rb") as file:
                content = file.read(MAX_FILE + 1)
            if not content or len(content) > MAX_FILE:
                return f"{one.path}: {f'more than {MAX_FILE} bytes' if content else 'empty'}"
            image, _ = decode(content)
            return view(image, self.how), one.label
        except OSError as error:
            return f"{one.path}: {error.strerror or error}"
        except ValueError as error:
            return f"{one.path}: {' '.join(str(error).split())}"


def _stack(items: Sequence[Item]) -> Loaded:
    """(N, 3, crop, crop) uint8, channels last as the decoder left them, and (N,) int64; or the first mistake."""
    rows = []
    for item in items:
        if isinstance(item, str):
            return item
        rows.append(item)
    images = torch.from_numpy(np.stack([image for image, _ in rows])).permute(0, 3, 1, 2)
    return images, torch.tensor([label for _, label in rows], dtype=torch.int64)


class Photographs:
    """Every image of a tree once, in its order. Satisfies resnet.data.EvalData."""

    def __init__(
        self, found: Sequence[Found], how: Preprocessing, mean: Tensor | None, device: torch.device, workers: int
    ) -> None:
        self.found, self.how, self.device, self.workers = found, how, device, workers
        self.mean = None if mean is None else mean.to(device)

    @property
    def size(self) -> int:
        return len(self.found)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Raises UserError, naming the file, for the first image that cannot be read, and EnvironmentFault where a
        worker died."""
        try:
            for loaded in self._loader(batch_size):
                if isinstance(loaded, str):
                    raise UserError(f"{loaded}; replace or remove it")
                images = loaded[0].to(self.device, non_blocking=True)
                yield self.how.numbers(images, self.mean), loaded[1].to(self.device, non_blocking=True)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            why = str(error).splitlines()[0]
            raise EnvironmentFault(f"{why}; give --workers or --batch-size a smaller number") from None

    def _loader(self, batch_size: int) -> DataLoader[Item]:
        return DataLoader(
            _Photographs(self.found, self.how),
            batch_size=batch_size,
            num_workers=self.workers,
            collate_fn=_stack,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=PREFETCH if self.workers else None,
        )
