"""Per-pixel mean and colours of a training split (Sec. 3.4), summed as integers, so that the order changes nothing.

Both are those of the test views of all training images.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.images import decode
from resnet.crops import SIZE, clean_view

Sums = tuple[NDArray[np.int64], NDArray[np.int64]]  # of pixels, (3, SIZE, SIZE); of products of two channels, (3, 3)


def sums(contents: Iterable[bytes]) -> Sums:
    """Returns the sums over the test views (shorter side 256, centre crop) of encoded images, in bytes."""
    pixels, products = np.zeros((3, SIZE, SIZE), np.int64), np.zeros((3, 3), np.int64)
    for content in contents:
        image, _ = decode(content)
        box = clean_view(image.height, image.width)
        crop = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))
        flat = crop.reshape(-1, 3).astype(np.float64)  # sums of products stay below 2^53, where they are exact
        pixels += crop.transpose(2, 0, 1)
        products += np.rint(flat.T @ flat).astype(np.int64)
    return pixels, products


def mean_and_colour(images: int, parts: Iterable[Sums]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the mean (3, SIZE, SIZE) in bytes, and the colours (2, 3, 3): the eigenvectors of the RGB covariance in
    units of 255 bytes as columns, the largest eigenvalue first, and the eigenvalues on a diagonal."""
    pixels, products = np.zeros((3, SIZE, SIZE), np.int64), np.zeros((3, 3), np.int64)
    for part in parts:
        pixels += part[0]
        products += part[1]
    count = images * SIZE * SIZE
    channel = pixels.sum(axis=(1, 2)) / count
    covariance = (products / count - np.outer(channel, channel)) / 255.0**2
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(min=0.0), vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, range(3)])  # an eigenvector's sign is arbitrary: fixed here
    return (pixels / images).astype(np.float32), np.stack([vectors, np.diag(values)]).astype(np.float32)
