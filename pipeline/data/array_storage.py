"""Small data sets as .npy files: splits by content, and how they are written."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.records import File, Manifest, SplitInfo, describe, replacing, write_json
from pipeline.storage import write_bytes


@dataclass(frozen=True, slots=True)
class Images:
    """Some labelled images of one size."""

    pixels: NDArray[np.uint8]  # (N, C, H, W)
    labels: NDArray[np.int64]  # (N,)

    def take(self, rows: list[int]) -> "Images":
        """Returns the images of these rows, in this order."""
        return Images(self.pixels[rows], self.labels[rows])

    def digests(self) -> list[str]:
        """Returns the SHA-256 of each image's bytes."""
        return [hashlib.sha256(image.tobytes()).hexdigest() for image in self.pixels]


def by_content(images: Images) -> Images:
    """Returns the same images in an order that does not depend on the order they came in."""
    keys = images.digests()
    return images.take(sorted(range(len(keys)), key=lambda row: (keys[row], int(images.labels[row]))))


def split(images: Images, sizes: Mapping[str, int], where: str) -> dict[str, Images]:
    """Takes at most `sizes` images for each name out of `images`; the others are called `train`.

    Images are distributed in the order of their SHA-256, those with equal bytes as one group, each group to the first
    name that still has a place for it: no image is in two splits, and the order they came in changes nothing.
    `where` is the place of the sizes in params.yaml. Raises UserError where they leave nothing for training.
    """
    ordered = by_content(images)
    if sum(sizes.values()) >= len(ordered.labels):
        raise UserError(f"{where}: {dict(sizes)} leaves nothing to train on of {len(ordered.labels)} images; take less")
    keys = ordered.digests()
    rows: dict[str, list[int]] = {name: [] for name in (*sizes, "train")}
    for _, equal in groupby(range(len(keys)), key=keys.__getitem__):
        group = list(equal)
        fits = [name for name, size in sizes.items() if len(rows[name]) + len(group) <= size]
        rows[fits[0] if fits else "train"].extend(group)
    return {name: ordered.take(picked) for name, picked in rows.items()}


def published_splits(train: Images, test: Images, validation: int, where: str) -> tuple[dict[str, Images], str]:
    """Returns the splits of a data set that has a published test part, and a note on them for readers.

    `validation` of the training images become `val`; with 0 of them `val` are the test images, and there is no `test`.
    Raises UserError where `validation` leaves nothing for training.
    """
    splits, note = split(train, {"val": validation}, where) | {"test": by_content(test)}, ""
    if shared := len(set(train.digests()) & set(test.digests())):
        note += f"; {shared} images are in the published training and test parts alike"
    if not validation:
        splits["val"] = splits.pop("test")
        note += "; `val` are the test images"
    return splits, note


def write(target: Path, dataset: str, classes: list[str], splits: Mapping[str, Images], source: str) -> Manifest:
    """Replaces `target` by the arrays of `train`, `val` and `test`, their mean and a manifest, which it returns.

    The mean is per pixel, in bytes; integer sums make it independent of the order.
    """
    train = splits["train"].pixels
    mean = (train.sum(axis=0, dtype=np.uint64) / len(train)).astype(np.float32)
    with replacing(target) as folder:
        infos = {}
        for name, part in splits.items():
            files = [save(folder / f"{name}.images.npy", part.pixels), save(folder / f"{name}.labels.npy", part.labels)]
            infos[name] = split_info(part.labels.tolist(), classes, files)
        shape = {"channels": train.shape[1], "size": train.shape[2]}
        what = {"dataset": dataset, "storage": "arrays", "classes": classes, "source": source}
        return write_manifest(folder, infos, mean, **what, **shape)


def write_manifest(folder: Path, splits: Mapping[str, SplitInfo], mean: NDArray[np.float32], **fields: Any) -> Manifest:
    """Writes mean.npy and then manifest.json, which it returns."""
    test, saved = splits.get("test"), save(folder / "mean.npy", mean)
    manifest = Manifest(train=splits["train"], val=splits["val"], test=test, mean=saved, **fields)
    write_json(folder / "manifest.json", manifest)
    return manifest


def split_info(labels: Iterable[int], classes: list[str], files: list[File]) -> SplitInfo:
    """Returns what the manifest says of a split."""
    counts = Counter(labels)
    per_class = {name: counts[label] for label, name in enumerate(classes)}
    return SplitInfo(images=counts.total(), per_class=per_class, files=files)


def save(path: Path, array: NDArray[np.generic]) -> File:
    """Writes an array as a .npy file. It is serialised in memory because numpy hides why a write fails."""
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes(path, content.getvalue())
    return describe(path, path.parent)
