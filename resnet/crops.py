"""Crops of photographs (Sec. 3.4): a random one at a random scale in training, the centre in testing.

A crop is a box in the coordinates of the whole image. The decoder resamples that box, and nothing outside it, to
SIZE x SIZE pixels, bilinear with antialiasing: the same as resizing the whole image and cropping it. It also mirrors
the crop. Mean and colour are handled here, for a batch at once and on its device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet.sampling import Choices

SIZE = 224  # pixels a side
SCALES = (256, 480)  # the shorter side is drawn from here, both ends included
TEST_SCALE = 256  # the shorter side of the test view
COLOUR_SD = 0.1  # of the strength of each principal component (Krizhevsky et al. 2012, Sec. 4.1)

Grid = tuple[int, int]  # rows and columns
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the whole image


@dataclass(frozen=True, slots=True)
class Pick:
    """The random choices of one training view, before the image's height and width are known."""

    sample: int
    scale: float  # in [0, 1)
    top: int  # random bits: the remainder by the number of offsets is the offset
    left: int
    flip: bool  # mirrored, left to right


def picks(choices: Choices, samples: NDArray[np.int64], *, flip: bool) -> list[Pick]:
    """Returns the choices of an epoch for these samples; without `flip` none is mirrored."""
    bits = choices.bits[1:3, samples].tolist()
    scales = choices.unit(samples).tolist()
    flips = (choices.flip(samples) & flip).tolist()
    return [Pick(*row) for row in zip(samples.tolist(), scales, bits[0], bits[1], flips, strict=True)]


def colours(choices: Choices, samples: NDArray[np.int64]) -> Tensor:
    """Returns the strengths of the three principal components, (n, 3) float32, N(0, 0.1)."""
    return torch.from_numpy((COLOUR_SD * choices.normals(samples)).astype(np.float32))


def train_view(pick: Pick, height: int, width: int) -> Box:
    """Returns a random crop of SIZE x SIZE from the image resized to `train_grid`."""
    rows, columns = train_grid(pick, height, width)
    corner = pick.top % (rows - SIZE + 1), pick.left % (columns - SIZE + 1)
    return crop_box(corner, (SIZE, SIZE), (height, width), (rows, columns))


def train_grid(pick: Pick, height: int, width: int) -> Grid:
    """Returns height and width of the resized image, whose shorter side is drawn from SCALES."""
    return resized(height, width, SCALES[0] + int(pick.scale * (SCALES[1] - SCALES[0] + 1)))


def clean_view(height: int, width: int) -> Box:
    """Returns the centre crop of SIZE x SIZE from the image with shorter side 256."""
    rows, columns = resized(height, width, TEST_SCALE)
    return crop_box(((rows - SIZE) // 2, (columns - SIZE) // 2), (SIZE, SIZE), (height, width), (rows, columns))


def resized(height: int, width: int, shorter: int) -> Grid:
    """Returns height and width when the shorter side becomes `shorter`, the other one rounded to the nearest pixel."""
    if height <= width:
        return shorter, (2 * width * shorter + height) // (2 * height)
    return (2 * height * shorter + width) // (2 * width), shorter


def crop_box(corner: Grid, size: Grid, image: Grid, grid: Grid) -> Box:
    """Returns the box, in an image of size `image`, of a crop from its copy resized to `grid`.

    `corner` is (top, left), the others are (height, width). Integers until the division: the edges are exact.
    """
    (top, left), (height, width), (rows, columns) = corner, image, grid
    return (
        left * width / columns,
        top * height / rows,
        (left + size[1]) * width / columns,
        (top + size[0]) * height / rows,
    )


def normalised(images: Tensor, mean: Tensor) -> Tensor:
    """Subtracts the per-pixel mean from (N, 3, SIZE, SIZE) uint8, in units of 255 bytes: float32, channels last."""
    same_layout = mean[None].contiguous(memory_format=torch.channels_last)  # otherwise the subtraction is strided, slow
    return images.contiguous(memory_format=torch.channels_last).float().sub_(same_layout).div_(255.0)


def coloured(images: Tensor, strengths: Tensor, colour: Tensor) -> Tensor:
    """Adds to every pixel of each image a sum of the principal components of colour, each times its strength (N, 3) and
    its eigenvalue. `colour` is (2, 3, 3): eigenvectors as columns, eigenvalues on the diagonal. Changes `images`."""
    shift = (strengths[:, None, :] * (colour[0] * colour[1].diagonal())).sum(2)  # (N, 3)
    row = shift[:, :, None, None].expand(-1, -1, 1, images.shape[3])  # materialised, so that the addition is contiguous
    return images.add_(row.contiguous(memory_format=torch.channels_last))
