"""Made-up images that can be learned, but not by heart and not without errors: nothing has to be downloaded.

Each class is a coarse random picture of 4x4 patches, made smooth; an image is a mixture of its class's picture, of a
picture of its own of the same kind, and of noise. Which class it is of can only be told with errors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet.data import Images

CLASSES = 10
COARSE = 4  # patches a side
PIXELS = 32
OF_CLASS, OWN, NOISE = 0.6, 1.0, 0.5  # strengths, in standard deviations of a picture
AT_ONCE = 5000  # images that are numbers of four bytes for a moment
GREY, CONTRAST = 128.0, 32.0  # bytes


def splits(train: int, test: int, device: torch.device, seed: int = 0) -> tuple[Images, Images]:
    """Of (N, 3, 32, 32) uint8 images on the device; the same numbers for one seed and kind of device."""
    generator = torch.Generator(device).manual_seed(seed)
    classes = _pictures(CLASSES, device, generator)
    images, labels = zip(*(_drawn(number, classes, generator) for number in (train, test)), strict=True)
    mean = torch.stack([some.float().sum(0) for some in torch.split(images[0], AT_ONCE)]).sum(0) / train
    return Images(images[0], labels[0], mean), Images(images[1], labels[1], mean)


def _drawn(number: int, classes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    labels = torch.randint(CLASSES, (number,), device=classes.device, generator=generator)
    return torch.cat([_mixed(classes[some], generator) for some in torch.split(labels, AT_ONCE)]), labels


def _mixed(of_class: Tensor, generator: torch.Generator) -> Tensor:
    images = OF_CLASS * of_class + OWN * _pictures(len(of_class), of_class.device, generator)
    images += NOISE * torch.randn(images.shape, device=images.device, generator=generator)
    return (GREY + CONTRAST * images).clamp_(0, 255).to(torch.uint8)


def _pictures(number: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """(N, 3, 32, 32) float32."""
    coarse = torch.randn(number, 3, COARSE, COARSE, device=device, generator=generator)
    return F.interpolate(coarse, size=(PIXELS, PIXELS), mode="bicubic", align_corners=False)
