"""The usual ImageNet input: torchvision's ImageFolder and a DataLoader, PIL transforms an image at a time.

Scale, crop, flip and colour as in the paper (Sec. 3.4), in the manner of fb.resnet.torch and its many translations.
"""

import random
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.transforms import functional

from benchmarks.catalogue_photographs import COUNT, QUICK_COUNT
from benchmarks.harness import Work
from benchmarks.sides.photographs import BATCH, QUICK_BATCH, photographs

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which everyone uses


class RandomScale:
    """Resizes the shorter side to a size drawn from [low, high]."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, image: Image.Image) -> Image.Image:
        resized: Image.Image = functional.resize(image, random.randint(self.low, self.high))
        return resized


class Lighting:
    """AlexNet's colours, by principal components: those of ImageNet that fb.resnet.torch has."""

    def __init__(self, alphastd: float) -> None:
        self.alphastd = alphastd
        self.eigval = torch.tensor([0.2175, 0.0188, 0.0045])
        self.eigvec = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])

    def __call__(self, image: Tensor) -> Tensor:
        alpha = torch.randn(3) * self.alphastd
        shift = (self.eigvec * alpha * self.eigval).sum(1)
        return image + shift.view(3, 1, 1)


def loader(root: Path, batch_size: int) -> DataLoader[tuple[Tensor, int]]:
    transform = transforms.Compose(
        [
            RandomScale(256, 480),
            transforms.RandomCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            Lighting(0.1),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    return DataLoader(datasets.ImageFolder(str(root), transform), batch_size, shuffle=True, num_workers=0)


def batches(quick: bool) -> Work:
    """One epoch a call."""
    count, size = (QUICK_COUNT, QUICK_BATCH) if quick else (COUNT, BATCH)
    temporary = tempfile.TemporaryDirectory()
    images = loader(photographs(Path(temporary.name), count) / "train", size)

    def go() -> None:
        assert Path(temporary.name).is_dir()  # kept until the process ends
        for _ in images:
            pass

    return go
