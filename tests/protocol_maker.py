"""Photographs on which boxes fall on whole pixels, and the paper's protocols once more: slowly, an image at a time."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pipeline.config import params
from pipeline.prepare import prepare
from pipeline.store.records import Manifest
from resnet.architectures import Architecture
from resnet.network import Network, build, initialise
from tests import makers

Pixels = NDArray[np.float64]
SHAPES = ((256, 256), (256, 300), (291, 256), (512, 512), (512, 600), (256, 262), (540, 512))  # height, width
CLASSES = ("ant", "bee", "cat", "dog", "elk")
NETWORK = Architecture(stem="imagenet", block="basic", blocks=(1, 1), width=4, shortcut="A")


def photographs(root: Path, splits: Mapping[str, int]) -> None:
    """So many images a class in each split; JPEG and PNG take turns, and so do SHAPES."""
    seed = 0
    for split, images in splits.items():
        for label in CLASSES:
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(images):
                suffix, kind = (("jpg", "JPEG"), ("png", "PNG"))[seed % 2]
                (folder / f"{i:03d}.{suffix}").write_bytes(makers.image(seed, *SHAPES[seed % len(SHAPES)], kind=kind))
                seed += 1


def prepared(top: Path, splits: Mapping[str, int]) -> tuple[Path, Manifest]:
    """The data folder of an experiment `x` on such a tree; the working directory must be `top`."""
    photographs(top / "source", splits)
    data: dict[str, Any] = {"dataset": "folder", "source": "source", "validation": 0.1, "test": 0.1}
    makers.params(Path("params.yaml"), "x", data)
    return top / "data" / "x", prepare(params.load("x"))


def network(seed: int, classes: int = len(CLASSES)) -> Network:
    """With running statistics of noise, and logits about as large as those of a trained network."""
    built = build(NETWORK, classes)
    initialise(built, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(3):
            built.train()(0.3 * torch.randn(8, 3, 64, 64, generator=generator).cumsum(3) / 8)
        head = built.get_submodule("head.fc")
        assert isinstance(head, nn.Linear)
        head.weight.mul_(4)
    return built.eval()


def probabilities(
    networks: Sequence[nn.Module],
    content: bytes,
    mean: bytes,
    protocol: str,
    *,
    sides: Sequence[int] = (224, 256, 384, 480, 640),
    flips: bool = False,
    averaging: str = "softmax",
) -> Pixels:
    """Of one encoded image: (classes,) float64. `sides` and `flips` are for multi-scale."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    views = ten_crops(picture) if protocol == "10-crop" else scaled(picture, sides, flips)
    inputs = [normalised(view, mean) for view in views]
    answers = []
    for member in networks:
        with torch.no_grad():
            logits = [np.asarray(member(view)[0].double()) for view in inputs]
        answers.append(softmax(average(logits)) if averaging == "logits" else average([softmax(x) for x in logits]))
    return average(answers)


def average(rows: Sequence[Pixels]) -> Pixels:
    return np.asarray(sum(rows[1:], rows[0]) / len(rows))


def resized(picture: Image.Image, shorter: int) -> Pixels:
    factor = shorter / min(picture.size)
    width, height = (int(side * factor + 0.5) for side in picture.size)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).astype(np.float64)


def ten_crops(picture: Image.Image) -> list[Pixels]:
    whole = resized(picture, 256)
    rows, columns = whole.shape[:2]
    middle = whole[(rows - 224) // 2 :, (columns - 224) // 2 :][:224, :224]
    crops = [whole[:224, :224], whole[:224, -224:], whole[-224:, :224], whole[-224:, -224:], middle]
    return crops + [crop[:, ::-1] for crop in crops]


def scaled(picture: Image.Image, sides: Sequence[int], flips: bool) -> list[Pixels]:
    views = [resized(picture, side) for side in sides]
    return views + ([view[:, ::-1] for view in views] if flips else [])


def normalised(view: Pixels, mean: bytes) -> torch.Tensor:
    """As a batch of one. `mean`: (3, 224, 224) float32 as bytes."""
    pixels = (view.transpose(2, 0, 1) - stretched(mean, *view.shape[:2])) / 255
    return torch.from_numpy(pixels.astype(np.float32))[None]


@cache
def stretched(mean: bytes, rows: int, columns: int) -> Pixels:
    """(3, rows, columns): linear between the centres of pixels, constant beyond the outermost."""

    def along(values: Pixels, size: int) -> Pixels:
        old = values.shape[-1]
        at = (np.arange(size) + 0.5) * old / size - 0.5
        points = np.arange(old, dtype=np.float64)
        flat = [np.interp(at, points, line) for line in values.reshape(-1, old)]
        return np.stack(flat).reshape(*values.shape[:-1], size)

    whole = np.frombuffer(mean, np.float32).astype(np.float64).reshape(3, 224, 224)
    return along(along(whole, columns).swapaxes(1, 2), rows).swapaxes(1, 2)


def softmax(logits: Pixels) -> Pixels:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def errors(table: Sequence[Pixels], labels: Sequence[int], k: int) -> int:
    """How many labels have k or more classes at least as probable."""
    return sum(int((np.delete(p, label) >= p[label]).sum()) >= k for p, label in zip(table, labels, strict=True))
