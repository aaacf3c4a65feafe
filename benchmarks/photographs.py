"""Photographs (Sec. 3.4) from JPEG files to batches: Arrow shards against torchvision's ImageFolder and a DataLoader.

Both decode on one core, in the process that uses the batches: what a core achieves, without copies between processes.
The baseline has scale, crop, flip and colour as in the paper, as fb.resnet.torch and its translations do it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.transforms import v2

from benchmarks import loop
from benchmarks.digits_stage import temporary_folder
from benchmarks.harness import Work
from pipeline.data import DATASETS
from pipeline.data.loader import load_splits

COUNT, QUICK_COUNT = 256, 8  # photographs of the training split, all seen in one call
BATCH, QUICK_BATCH = 64, 4
SIZE = (375, 500)  # the most frequent one in ImageNet
QUALITY = 90
CLASSES = ("bee", "cat")
DETAIL = 1.25  # decline of the spectrum: files become as large as ImageNet's, 0.5 bytes a pixel
SCENE = 1024  # pixels on each side
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which everyone uses
EIGENVALUES = torch.tensor([0.2175, 0.0188, 0.0045])
EIGENVECTORS = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def write_photographs(root: Path, count: int) -> Path:
    """Writes a tree `root`/SPLIT/CLASS/IMAGE: `count` for training and one of each class in val."""
    view = scene()
    corners = np.random.Generator(np.random.PCG64(1))
    splits = [("train", count // len(CLASSES)), ("val", 1)]
    for split, name, i in [(split, name, i) for split, each in splits for name in CLASSES for i in range(each)]:
        path = root / split / name / f"{i:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        top, left = (int(corners.integers(0, SCENE - side + 1)) for side in SIZE)
        Image.fromarray(view[top : top + SIZE[0], left : left + SIZE[1]]).save(path, quality=QUALITY)
    return root


def scene(side: int = SCENE) -> NDArray[np.uint8]:
    """Returns noise (side, side, 3) with detail at all scales, as in nature; its colours vary less than its light."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((3, side, side)) + 2 * generator.standard_normal((side, side))
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 1 / side
    planes = np.fft.irfft2(np.fft.rfft2(noise) / frequencies**DETAIL)
    pixels: NDArray[np.uint8] = (128 + 55 * planes / planes.std()).clip(0, 255).astype(np.uint8)
    return pixels.transpose(1, 2, 0)


def batches(quick: bool) -> Work:
    """One epoch a call, as `train` has it: other crops, scales, flips and colours in each."""
    count, size = (QUICK_COUNT, QUICK_BATCH) if quick else (COUNT, BATCH)
    folder = temporary_folder("benchmark-photographs-")
    source, packed = folder / "tree", folder / "packed"
    packed.mkdir()
    kind = DATASETS["folder"]
    section = {"dataset": "folder", "source": str(write_photographs(source, count)), "validation": 0.1, "test": 0.1}
    manifest = kind.prepare(kind.section.model_validate(section), packed, "photographs")
    splits = load_splits(packed, manifest, torch.device("cpu"), workers=0)
    recipe = replace(loop.recipe(size, 1, "fp32"), pad=0)
    endless = splits.train.batches(recipe, 0, 0)

    def call() -> None:
        for _ in range(count // size):
            next(endless)

    return Work(call, count)


def lit(image: Tensor) -> Tensor:
    """Adds AlexNet's random colours, by principal components: those of ImageNet that fb.resnet.torch has."""
    shift = (EIGENVECTORS * (torch.randn(3) * 0.1) * EIGENVALUES).sum(1)
    return image + shift.view(3, 1, 1)


def image_folder_batches(quick: bool) -> Work:
    """One epoch a call of the usual ImageNet input."""
    count, size = (QUICK_COUNT, QUICK_BATCH) if quick else (COUNT, BATCH)
    folder = temporary_folder("benchmark-photographs-")
    transform = transforms.Compose(
        [
            v2.RandomShortestSize(list(range(256, 481))),
            transforms.RandomCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Lambda(lit),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    tree = write_photographs(folder, count) / "train"
    images = DataLoader(datasets.ImageFolder(str(tree), transform), size, shuffle=True, num_workers=0)

    def call() -> None:
        for _ in images:
            pass

    return Work(call, count)
