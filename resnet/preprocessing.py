"""Preprocessing of images in the conventions of published weights.

The geometry gives integers and boxes to the decoder; pixels become numbers for a batch at once and on its device.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from resnet import crops
from resnet.architectures import ARCHITECTURES, Architecture

Interpolation = Literal["bilinear", "bicubic"]  # both with antialiasing
Geometry = Literal["whole", "crop"]  # what is resampled: the whole image, then cropped | only the crop (resnet.crops)
Pixels = Literal["torchvision", "caffe", "tf", "paper"]

MAX_SIDE = 4096  # pixels

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's, of red, green and blue in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red in bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """One centre crop of the resized image. Raises ValueError, naming the field, for sizes that cannot be."""

    name: str
    pixels: Pixels
    resize: int = 256  # of the shorter side, in pixels
    crop: int = 224  # height and width
    interpolation: Interpolation = "bilinear"
    geometry: Geometry = "whole"

    def __post_init__(self) -> None:
        for field in ("resize", "crop"):
            if not 1 <= getattr(self, field) <= MAX_SIDE:
                raise ValueError(f"{field} must be from 1 to {MAX_SIDE} pixels, got {getattr(self, field)}")
        if self.crop > self.resize:
            raise ValueError(f"crop must be at most resize, got a crop of {self.crop} and a resize of {self.resize}")

    @property
    def protocol(self) -> str:
        return f"1-crop {self.crop}, resize {self.resize}, {self.name}"

    def resized(self, height: int, width: int) -> crops.Grid:
        """Returns height and width of the resized image. torchvision drops the fraction of the longer side."""
        if self.geometry == "crop":
            return crops.resized(height, width, self.resize)
        short, long = sorted((height, width))
        longer = int(self.resize * long / short)
        return (self.resize, longer) if height <= width else (longer, self.resize)

    def corner(self, rows: int, columns: int) -> crops.Grid:
        """Returns top and left of the crop in the resized image. torchvision rounds halves to even."""
        if self.geometry == "crop":
            return (rows - self.crop) // 2, (columns - self.crop) // 2
        return round((rows - self.crop) / 2), round((columns - self.crop) / 2)

    def box(self, height: int, width: int) -> crops.Box:
        """Returns the crop in the coordinates of the image itself."""
        grid = self.resized(height, width)
        return crops.crop_box(self.corner(*grid), (self.crop, self.crop), (height, width), grid)

    def numbers(self, images: Tensor, mean: Tensor | None = None) -> Tensor:
        """Turns (N, 3, crop, crop) uint8, red first, into float32 of the same shape, channels last.

        `mean`, (3, crop, crop) float32 in units of a byte, belongs to the pixels "paper", which need it (ValueError).
        """
        if self.pixels == "paper":
            if mean is None:
                raise ValueError("the paper's pixels need the per-pixel mean")
            return crops.normalised(images, mean)
        x = images.contiguous(memory_format=torch.channels_last).float()
        if self.pixels == "torchvision":
            return x.div_(255.0).sub_(_channels(x, IMAGENET_MEAN)).div_(_channels(x, IMAGENET_STD))
        if self.pixels == "caffe":  # blue first
            return x.flip(1).contiguous(memory_format=torch.channels_last).sub_(_channels(x, CAFFE_MEAN))
        return x.div_(127.5).sub_(1.0)


def _channels(like: Tensor, values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]


# torchvision's are the transforms of its weights IMAGENET1K_V1 and IMAGENET1K_V2. Keras's pixels are those of
# keras.applications.imagenet_utils.preprocess_input in its modes "caffe" (ResNet) and "tf" (ResNetV2); the table of
# Keras Applications does not state how its images were resized and cropped, so resize and crop here are the common
# ones. `paper` is the test view of our own training (Sec. 3.4) with the per-pixel mean of the training images.
PREPROCESSINGS: dict[str, Preprocessing] = {
    row.name: row
    for row in (
        Preprocessing(name="torchvision", pixels="torchvision"),
        Preprocessing(name="torchvision-v2", pixels="torchvision", resize=232),
        Preprocessing(name="keras-caffe", pixels="caffe"),
        Preprocessing(name="keras-tf", pixels="tf"),
        Preprocessing(name="paper", pixels="paper", geometry="crop"),
    )
}


def usual(network: Architecture) -> str:
    """Names the row of PREPROCESSINGS that belongs to the published weights of this network."""
    names = [name for name, known in ARCHITECTURES.items() if name.startswith("keras-") and known == network]
    if names:
        return "keras-tf" if names[0].endswith("v2") else "keras-caffe"
    return "torchvision"
