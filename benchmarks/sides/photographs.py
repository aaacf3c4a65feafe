"""Ours on photographs (Sec. 3.4): from JPEG files in Arrow shards to batches. And the files that both sides read.

All on one core, decoding in the process that uses the batches: what a core is worth, and no copies between processes.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.catalogue_photographs import COUNT, QUICK_COUNT
from benchmarks.harness import Work
from pipeline.datasets import folder, tree
from pipeline.loading.splits import load_splits
from resnet.recipe import MOST, Recipe

SIZE = (375, 500)  # the commonest of ImageNet
QUALITY = 90
CLASSES = ("bee", "cat")
BATCH, QUICK_BATCH = 64, 4
DETAIL = 0.85  # how much an octave has of the one below it: files become as large as ImageNet's, 0.5 bytes a pixel
SCENE = 1024  # pixels a side


def photographs(root: Path, count: int) -> Path:
    """A tree `root`/SPLIT/CLASS/IMAGE, the same for both sides: `count` for training and one of each class in val."""
    view = scene(0)
    places = np.random.Generator(np.random.PCG64(1))
    splits = [("train", count // len(CLASSES)), ("val", 1)]
    for split, name, i in [(split, name, i) for split, each in splits for name in CLASSES for i in range(each)]:
        path = root / split / name / f"{i:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        top, left = (int(places.integers(0, SCENE - side + 1)) for side in SIZE)
        path.write_bytes(jpeg(view[top : top + SIZE[0], left : left + SIZE[1]]))
    return root


def scene(seed: int, side: int = SCENE) -> NDArray[np.uint8]:
    """Noise (side, side, 3) with detail at all scales, as nature has it, and its colours less varied than its light."""
    generator = np.random.Generator(np.random.PCG64(seed))
    total, weight, cells = np.zeros((side, side, 3), np.float32), 1.0, 4
    while cells <= side:
        light = generator.standard_normal((cells, cells, 1), np.float32)
        octave = light + 0.5 * generator.standard_normal((cells, cells, 3), np.float32)
        for channel in range(3):
            plane = Image.fromarray(octave[:, :, channel]).resize((side, side), Image.Resampling.BICUBIC)
            total[:, :, channel] += weight * np.asarray(plane)
        weight, cells = weight * DETAIL, 2 * cells
    bytes_: NDArray[np.uint8] = (128 + 55 * total / total.std()).clip(0, 255).astype(np.uint8)
    return bytes_


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def batches(quick: bool) -> Work:
    """One epoch a call, as `train` has it: other crops, scales, flips and colours in each."""
    count, size = (QUICK_COUNT, QUICK_BATCH) if quick else (COUNT, BATCH)
    temporary = tempfile.TemporaryDirectory()
    root = Path(temporary.name)
    plan = folder.read_folder(tree.scan(photographs(root / "tree", count), "tree"), "tree", {}, map)
    (root / "packed").mkdir()
    splits = load_splits(root / "packed", folder.write(root / "packed", plan, map), torch.device("cpu"), workers=0)
    recipe = Recipe(
        batch_size=size, iterations=MOST, lr=0.1, lr_drops=(), momentum=0.9, weight_decay=1e-4, pad=0, flip=True,
        record_every=1, validate_every=1,
    )  # fmt: skip
    endless = splits.train.batches(recipe, 0, 0)

    def go() -> None:
        assert Path(temporary.name).is_dir()  # kept until the process ends
        for _ in range(count // size):
            next(endless)

    return go
