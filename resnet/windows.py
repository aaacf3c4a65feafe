"""Random crops and flips of small images as rows of padded bytes: one gather for a batch (Sec. 4.2).

Padding with zeros behind the subtraction of the mean is padding image and mean with zeros before it: 0 - 0 is 0, to the
bit. So an image is padded once, as bytes, with its mirror image beside it where images are flipped: a crop, flipped or
not, is then a row of neighbouring bytes for each of its rows.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Choice = NDArray[np.int64]  # (n,), one number for each image of a batch


@dataclass(frozen=True, slots=True)
class Windows:
    """Which window each image of a batch shows; all on the images' device."""

    samples: Tensor  # (n,) int64
    first: Tensor  # (n,) int64, the byte of Padded.rows at which the window begins
    means: Tensor  # (n,) int64, the row of Padded.means that belongs to the window


@dataclass(frozen=True, slots=True)
class Padded:
    """A split of small images, ready to be cropped; on the device of the images."""

    size: tuple[int, int, int]  # H, W, C
    pad: int
    sides: int  # 2: an image, then its mirror image; 1: images alone
    rows: Tensor  # (bytes, W * C) uint8: strided, for a row of a window begins at any byte, and each is held once
    below: Tensor  # (H,) int64, how many bytes each row of a window lies below its first
    means: Tensor  # (2 * (2 pad + 1)^2, H * W * C) float32: the mean as each crop sees it, then the same mirrored

    @classmethod
    def of(cls, images: Tensor, mean: Tensor, pad: int, *, flip: bool) -> Self:
        """Of (N, C, H, W) uint8 and the per-pixel mean (C, H, W) float32."""
        number, channels, height, width = images.shape
        high, wide, sides = height + 2 * pad, width + 2 * pad, 2 if flip else 1
        padded = images.new_zeros(number, sides, high, wide, channels)
        inner = padded[:, :, pad : pad + height, pad : pad + width]
        inner[:, 0] = images.permute(0, 2, 3, 1)
        if flip:
            inner[:, 1] = images.permute(0, 2, 3, 1).flip(2)
        row = width * channels
        rows = padded.as_strided((padded.numel() - row + 1, row), (1, 1))
        below = torch.arange(height, device=images.device) * (wide * channels)
        means = _windows(F.pad(mean.permute(1, 2, 0), (0, 0, pad, pad, pad, pad)), pad)
        both = torch.stack([means, means.flip(3)])
        return cls((height, width, channels), pad, sides, rows, below, both.reshape(2 * (2 * pad + 1) ** 2, -1))

    def windows(self, samples: Choice, top: Choice, left: Choice, mirrored: NDArray[np.bool_]) -> Windows:
        """Of crops at (top, left), each from 0 to 2 pad. One copy to the device, which waits for nothing."""
        height, width, channels = self.size
        high, wide, places = height + 2 * self.pad, width + 2 * self.pad, 2 * self.pad + 1
        column = np.where(mirrored, 2 * self.pad - left, left)
        first = (((samples * self.sides + mirrored) * high + top) * wide + column) * channels
        means = (mirrored * places + top) * places + left
        host = torch.from_numpy(np.stack([samples, first, means]))
        return Windows(*host.to(self.rows.device, non_blocking=True))

    def batch(self, windows: Windows) -> Tensor:
        """Mean subtracted, in units of 255 bytes: (n, C, H, W) float32, channels last."""
        seen = self.rows.index_select(0, (windows.first[:, None] + self.below).view(-1)).view(-1, self.means.shape[1])
        mean = self.means.index_select(0, windows.means)
        return seen.float().sub_(mean).div_(255.0).view(-1, *self.size).permute(0, 3, 1, 2)


def _windows(padded: Tensor, pad: int) -> Tensor:
    """(H + 2 pad, W + 2 pad, C) seen as (2 pad + 1, 2 pad + 1, H, W, C), without a copy."""
    height, width, channels = padded.shape
    places = 2 * pad + 1
    padded = padded.contiguous()
    row, column, channel = padded.stride()
    return padded.as_strided(
        (places, places, height - 2 * pad, width - 2 * pad, channels), (row, column, row, column, channel)
    )
