"""Random crops and flips of small images as windows on padded bytes: one gather for a batch (Sec. 4.2).

Padding with zeros behind the subtraction of the mean is padding image and mean with zeros before it: 0 - 0 is 0, to the
bit. So an image is padded once, as bytes, and a crop is a strided window on it.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Views:
    """Which window each image of a batch shows; all on the images' device."""

    samples: Tensor  # (n,) int64
    top: Tensor  # (n,) int64, 0 to 2 pad
    left: Tensor  # (n,) int64
    means: Tensor  # (n,) int64, the row of Padded.means that belongs to the window
    mirrored: Tensor  # (m,) int64, the places in the batch of those that are flipped


@dataclass(frozen=True, slots=True)
class Padded:
    """A split of small images, ready to be cropped; on the device of the images."""

    windows: Tensor  # (N, 2 pad + 1, 2 pad + 1, H, W, C) uint8: strided, each byte is held once
    means: Tensor  # (2 * (2 pad + 1)^2, H * W * C) float32: the mean as each crop sees it, then the same mirrored

    @classmethod
    def of(cls, images: Tensor, mean: Tensor, pad: int) -> Self:
        """Of (N, C, H, W) uint8 and the per-pixel mean (C, H, W) float32."""
        around = (0, 0, pad, pad, pad, pad)
        windows = _windows(F.pad(images.permute(0, 2, 3, 1), around), pad)
        means = _windows(F.pad(mean.permute(1, 2, 0)[None], around), pad)[0]
        both = torch.stack([means, means.flip(3)])
        return cls(windows, both.reshape(2 * (2 * pad + 1) ** 2, -1))

    def batch(self, views: Views) -> Tensor:
        """Mean subtracted, in units of 255 bytes: (n, C, H, W) float32, channels last."""
        seen = self.windows[views.samples, views.top, views.left]
        seen.index_copy_(0, views.mirrored, seen.index_select(0, views.mirrored).flip(2))
        mean = self.means.index_select(0, views.means).view(seen.shape)
        return seen.float().sub_(mean).div_(255.0).permute(0, 3, 1, 2)


def _windows(padded: Tensor, pad: int) -> Tensor:
    """(N, H + 2 pad, W + 2 pad, C) seen as (N, 2 pad + 1, 2 pad + 1, H, W, C), without a copy."""
    number, height, width, channels = padded.shape
    places = 2 * pad + 1
    padded = padded.contiguous()
    image, row, column, channel = padded.stride()
    size = (number, places, places, height - 2 * pad, width - 2 * pad, channels)
    return padded.as_strided(size, (image, row, column, row, column, channel))
