"""Small data sets: splits by content, and how they are written as arrays."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.store.records import File, Manifest, SplitInfo, describe, write_bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Some images of a small data set."""

    images: NDArray[np.uint8]  # (N, C, H, W)
    labels: NDArray[np.int64]  # (N,)

    def take(self, rows: list[int]) -> "Part":
        return Part(self.images[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Small:
    """A whole data set, split, each split in the order of its content."""

    dataset: str
    classes: list[str]
    train: Part
    val: Part
    test: Part
    source: str  # for people


def digests(part: Part) -> list[str]:
    """SHA-256 of each image's bytes."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in part.images]


def by_content(part: Part) -> Part:
    """The same images in an order that does not depend on the order they came in."""
    keys = digests(part)
    return part.take(sorted(range(len(keys)), key=lambda row: (keys[row], int(part.labels[row]))))


def split(part: Part, sizes: dict[str, int], where: str) -> dict[str, Part]:
    """Takes `sizes` images for each name out of `part`; what is left is called `train`.

    Images are dealt out in the order of their SHA-256, those with equal bytes together, each group to the first name
    that still has room for it: so no image is in two splits, and the order they came in changes nothing.
    `where` is the key of the sizes, for messages. Raises UserError where they leave nothing for training.
    """
    ordered = by_content(part)
    if sum(sizes.values()) >= len(part.labels):
        wanted = " + ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(f"{where}: {wanted} leaves nothing to train on, of {len(part.labels)} images; take fewer")
    rows: dict[str, list[int]] = {name: [] for name in (*sizes, "train")}
    for group in _groups(digests(ordered)):
        fits = [name for name, size in sizes.items() if len(rows[name]) + len(group) <= size]
        rows[fits[0] if fits else "train"].extend(group)
    for name, size in sizes.items():
        if len(rows[name]) != size:
            raise UserError(f"{where}: {name} {size} would cut a group of equal images in two; change it a little")
    return {name: ordered.take(picked) for name, picked in rows.items()}


def _groups(keys: list[str]) -> list[list[int]]:
    """Runs of equal keys, as rows."""
    groups: list[list[int]] = []
    for row, key in enumerate(keys):
        if row and keys[row - 1] == key:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def mean(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Per-pixel mean (C, H, W) in units of a byte; summed as integers, so that no order of summation shows."""
    total: NDArray[np.uint64] = images.sum(axis=0, dtype=np.uint64)
    return (total / len(images)).astype(np.float32)


def write(folder: Path, small: Small) -> Manifest:
    """Writes the arrays of all splits and the mean, and describes them; the caller writes the manifest."""
    infos = {
        name: _write_part(folder, name, part, small.classes)
        for name, part in (("train", small.train), ("val", small.val), ("test", small.test))
    }
    channels, size = small.train.images.shape[1], small.train.images.shape[2]
    return Manifest(
        dataset=small.dataset,
        storage="arrays",
        classes=small.classes,
        channels=channels,
        size=size,
        train=infos["train"],
        val=infos["val"],
        test=infos["test"],
        mean=save(folder / "mean.npy", mean(small.train.images)),
        source=small.source,
    )


def _write_part(folder: Path, name: str, part: Part, classes: list[str]) -> SplitInfo:
    counts = np.bincount(part.labels, minlength=len(classes)).tolist()
    files = [
        save(folder / f"{name}.images.npy", part.images),
        save(folder / f"{name}.labels.npy", part.labels),
    ]
    return SplitInfo(images=len(part.labels), per_class=dict(zip(classes, counts, strict=True)), files=files)


def save(path: Path, array: NDArray[np.generic]) -> File:
    """One array as a .npy file without pickle. By way of memory: numpy's own writing does not say why it fails."""
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes(path, content.getvalue())
    return describe(path, path.parent)
