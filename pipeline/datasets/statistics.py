"""Per-pixel mean and colour of a training split (Sec. 3.4), summed as integers: no order of summation shows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.images import decode
from pipeline.datasets.pack import Entry, content
from resnet.views import SIZE, clean_view

MAX_IMAGES = 10_000  # the first in the order of content, which is as good as drawn


@dataclass(frozen=True, slots=True)
class Sums:
    """Over the centre crops of some images, in units of a byte."""

    images: int
    pixels: NDArray[np.int64]  # (3, SIZE, SIZE)
    products: NDArray[np.int64]  # (3, 3): of the channels, over all pixels

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.images + other.images, self.pixels + other.pixels, self.products + other.products)


NOTHING = Sums(0, np.zeros((3, SIZE, SIZE), np.int64), np.zeros((3, 3), np.int64))


def sums(entries: list[Entry]) -> Sums:
    """Of the test views (shorter side 256, centre crop) of these images."""
    from PIL import Image

    pixels, products = np.zeros((SIZE, SIZE, 3), np.int64), np.zeros((3, 3), np.int64)
    for entry in entries:
        image, _ = decode(content(entry))
        box = clean_view(image.height, image.width)
        crop = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))
        pixels += crop
        flat = crop.reshape(-1, 3).astype(np.float64)  # sums of products stay below 2^53, where they are exact
        products += np.rint(flat.T @ flat).astype(np.int64)
    return Sums(len(entries), pixels.transpose(2, 0, 1), products)


def mean_and_colour(parts: Iterable[Sums]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(3, SIZE, SIZE) in units of a byte; (2, 3, 3): eigenvectors of the RGB covariance in units of 255 bytes as
    columns, the largest eigenvalue first, and the eigenvalues on a diagonal."""
    total = NOTHING
    for part in parts:
        total = total + part
    mean = total.pixels / total.images
    count = total.images * SIZE * SIZE
    channel = total.pixels.sum(axis=(1, 2)) / count
    covariance = (total.products / count - np.outer(channel, channel)) / 255.0**2
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(min=0.0), vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, range(3)])  # an eigenvector's sign is arbitrary: fixed here
    return mean.astype(np.float32), np.stack([vectors, np.diag(values)]).astype(np.float32)
