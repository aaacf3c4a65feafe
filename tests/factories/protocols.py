"""Photographs on which boxes fall on whole pixels, and a reference of the paper's protocols: one image at a time."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pipeline.records import Manifest
from resnet.architectures import Architecture
from resnet.network import Network, build, initialise
from tests.factories import data

Pixels = NDArray[np.float64]
SHAPES = ((256, 256), (256, 300), (291, 256), (512, 512), (512, 600), (256, 262), (540, 512))  # height, width
CLASSES = ("ant", "bee", "cat", "dog", "elk")
NETWORK = Architecture(stem="imagenet", block="basic", blocks=(1, 1), width=4, shortcut="A")


def prepared(top: Path, splits: Mapping[str, int]) -> tuple[Path, Manifest]:
    """Returns data/x on so many JPEG and PNG images a class, with each of SHAPES; `top` must be the working folder."""
    seed = 0
    for split, images in splits.items():
        for label in CLASSES:
            folder = top / "source" / split / label
            folder.mkdir(parents=True)
            for i in range(images):
                suffix, kind = (("jpg", "JPEG"), ("png", "PNG"))[seed % 2]
                (folder / f"{i:03d}.{suffix}").write_bytes(data.image(seed, *SHAPES[seed % len(SHAPES)], kind=kind))
                seed += 1
    return top / "data" / "x", data.prepared(dataset="folder", source="source", validation=0.1, test=0.1)


def network(seed: int, classes: int = len(CLASSES)) -> Network:
    """Returns a network with running statistics of noise, and logits about as large as those of a trained network."""
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
    """Returns (classes,) float64 for one encoded image. `sides` and `flips` are for multi-scale."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    views = ten_crops(picture) if protocol == "10-crop" else [resized(picture, side) for side in sides]
    inputs = [normalised(view, mean) for view in [*views, *(view[:, ::-1] for view in views if flips)]]
    answers: list[Pixels] = []
    for member in networks:
        with torch.no_grad():
            logits = [np.asarray(member(view)[0].double()) for view in inputs]
        mean_of_logits, mean_of_softmax = softmax(np.mean(logits, axis=0)), np.mean([*map(softmax, logits)], axis=0)
        answers.append(mean_of_logits if averaging == "logits" else mean_of_softmax)
    return np.asarray(np.mean(answers, axis=0))


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


def normalised(view: Pixels, mean: bytes) -> torch.Tensor:
    """Returns a batch of one. `mean`: (3, 224, 224) float32 as bytes."""
    pixels = (view.transpose(2, 0, 1) - stretched(mean, *view.shape[:2])) / 255
    return torch.from_numpy(pixels.astype(np.float32))[None]


@cache
def stretched(mean: bytes, rows: int, columns: int) -> Pixels:
    """Returns (3, rows, columns): linear between the centres of pixels, constant beyond the outermost."""

    def along(values: Pixels, size: int) -> Pixels:
        old = values.shape[-1]
        at = (np.arange(size) + 0.5) * old / size - 0.5
        return np.apply_along_axis(lambda line: np.interp(at, np.arange(old), line), -1, values)

    whole = np.frombuffer(mean, np.float32).astype(np.float64).reshape(3, 224, 224)
    return along(along(whole, columns).swapaxes(1, 2), rows).swapaxes(1, 2)


def softmax(logits: Pixels) -> Pixels:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def errors(table: Sequence[Pixels], labels: Sequence[int], k: int) -> int:
    """Counts the labels that have k or more classes at least as probable."""
    return sum(int((np.delete(p, label) >= p[label]).sum()) >= k for p, label in zip(table, labels, strict=True))
