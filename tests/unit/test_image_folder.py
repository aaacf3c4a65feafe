"""The prepare stage on image folders and ImageNet: every image is decoded, every mistake is named."""

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.data import arrow_storage
from pipeline.data.imagenet import wnids
from pipeline.data.prepared import verify
from pipeline.errors import UserError
from pipeline.records import Manifest
from tests.factories.data import deep_png, encoded, image, prepared, snapshot, tree

SPLITS = {"train": 6, "val": 4, "test": 3}
DATA: dict[str, Any] = {"dataset": "folder", "source": "source", "validation": 0.2, "test": 0.2}
IMAGENET: dict[str, Any] = {"dataset": "imagenet", "source": "source"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(folder: Path, manifest: Manifest, split: str) -> list[tuple[bytes, int, str]]:
    """What a split's shards hold: image, label, name."""
    info = {"train": manifest.train, "val": manifest.val, "test": manifest.test}[split]
    assert info is not None
    found = []
    for file in info.files:
        with pa.ipc.open_file(folder / file.path) as reader:
            table = reader.read_all().to_pydict()
        found += list(zip(table["image"], table["label"], table["name"], strict=True))
    return found


def test_a_tree_with_splits_is_packed_unchanged() -> None:
    tree(Path("source"), SPLITS)
    (Path("source") / "train" / ".DS_Store").write_bytes(b"x")
    manifest = prepared(**DATA)
    verify(Path("data/x"), manifest)
    assert manifest.classes == ["bee", "cat", "dog"]
    for split, number in SPLITS.items():
        found = rows(Path("data/x"), manifest, split)
        assert Counter(label for _, label, _ in found) == {0: number, 1: number, 2: number}
        hashes = [hashlib.sha256(content).hexdigest() for content, _, _ in found]
        assert hashes == sorted(hashes)
        for content, label, name in found:
            assert (Path("source") / name).read_bytes() == content
            assert name.split("/")[:2] == [split, manifest.classes[label]]


def test_a_tree_without_splits_is_split_by_content() -> None:
    tree(Path("source"), {"": 20})
    shutil.copy("source/bee/000.jpg", "source/bee/copy.jpg")
    shutil.copy("source/bee/001.JPEG", "source/cat/copy.jpg")
    manifest = prepared(**DATA)
    assert manifest.test is not None
    assert manifest.val.per_class == {"bee": 4, "cat": 4, "dog": 4}
    assert manifest.train.images + manifest.val.images + manifest.test.images == 62
    homes: dict[bytes, set[str]] = {}
    for split in SPLITS:
        for content, _, _ in rows(Path("data/x"), manifest, split):
            homes.setdefault(content, set()).add(split)
    assert all(len(home) == 1 for home in homes.values())


def test_mean_and_colour_are_those_of_the_training_images() -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    tones = generator.integers(0, 256, (2, 4, 3), dtype=np.uint8)
    for split, number in (("train", 4), ("val", 1)):
        for i, class_name in enumerate(("a", "b")):
            Path(f"source/{split}/{class_name}").mkdir(parents=True)
            for j in range(number):
                tone = tones[i, j] if split == "train" else (i, j, 200)
                Image.new("RGB", (256, 300), tuple(map(int, tone))).save(f"source/{split}/{class_name}/{j}.png")
    prepared(**DATA)
    flat = tones.reshape(-1, 3).astype(np.float64)
    mean = np.load("data/x/mean.npy")
    assert mean.shape == (3, 224, 224)
    np.testing.assert_allclose(mean[:, 100, 7], flat.mean(axis=0), rtol=1e-6)
    vectors, values = np.load("data/x/colour.npy").astype(np.float64)
    np.testing.assert_allclose(vectors @ values @ vectors.T, np.cov(flat.T / 255, bias=True), atol=1e-6)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-5)
    assert (np.diff(np.diag(values)) <= 0).all()


def test_the_same_bytes_for_any_order_and_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    tree(Path("source"), {"": 34})
    monkeypatch.setattr(arrow_storage, "SHARD_BYTES", 40_000)
    one = prepared(**DATA)
    assert len(one.train.files) > 2
    before = snapshot(Path("data/x"))
    for path in sorted(Path("source").rglob("*.*"), reverse=True):  # new inodes, another order in the folder
        shutil.copy(path, "moving")
        path.unlink()
        os.replace("moving", path)
    monkeypatch.setattr(arrow_storage, "CHUNK", 5)
    monkeypatch.setattr(arrow_storage, "THREADS", 7)
    assert prepared(**DATA).digest() == one.digest()
    assert snapshot(Path("data/x")) == before


MODES = [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("I;16", "PNG")]


def test_conversions_are_counted() -> None:
    tree(Path("source"), SPLITS)
    for i, (mode, kind) in enumerate(MODES):
        Path(f"source/train/cat/mode{i}.png").write_bytes(image(900 + i, mode=mode, kind=kind))
    Path("source/train/cat/deep.png").write_bytes(deep_png())
    assert prepared(**DATA).conversions == {**{mode: 1 for mode, _ in MODES}, "RGB;16": 1}


def refusal(**data: Any) -> str:
    """What the stage says, in one line; the data are as they were before."""
    Path("data/x").mkdir(parents=True)
    Path("data/x/manifest.json").write_text("{}")
    before = snapshot(Path("data"))
    with pytest.raises(UserError) as refused:
        prepared(**data)
    assert "\n" not in str(refused.value)
    assert snapshot(Path("data")) == before
    return str(refused.value)


BROKEN = {
    "empty": (b"", "neither JPEG nor PNG"),
    "truncated JPEG": (image(1)[:-200], "truncated"),
    "truncated PNG": (image(1, kind="PNG")[:-200], ""),
    "GIF": (encoded(Image.new("P", (5, 5)), "GIF"), "neither JPEG nor PNG"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_images_are_refused_by_path(name: str) -> None:
    content, reason = BROKEN[name]
    tree(Path("source"), SPLITS)
    Path("source/val/dog/broken.jpg").write_bytes(content)
    assert re.search(rf"1 broken images: source/val/dog/broken.jpg: .*{reason}", refusal(**DATA))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, r"x\.data\.source: source is not a folder"),
        (lambda root: (root / "val/cat/gone.png").symlink_to("nowhere.png"), r"gone\.png: No such file"),
        (lambda root: shutil.rmtree(root / "val"), "without val/"),
        (lambda root: shutil.rmtree(root / "val/dog"), "not in every one of train, val, test: dog"),
        (lambda root: shutil.copy(root / "train/dog/000.jpg", root / "val/cat/z.jpg"), "the same image in two splits"),
        (lambda root: [shutil.rmtree(path) for path in root.glob("*/[cd]*")], "at least 2"),
        (lambda root: (shutil.rmtree(root), tree(root, {"": 2})), "too few .* train one of each class: bee; cat; dog"),
    ],
)
def test_mistakes_in_the_tree_are_refused(damage: Callable[[Path], object], reason: str) -> None:
    tree(Path("source"), SPLITS)
    damage(Path("source"))
    assert re.search(reason, refusal(**DATA))


def test_a_subset_of_imagenet_is_noted_and_other_classes_are_refused() -> None:
    assert (len(set(wnids())), list(wnids())) == (1000, sorted(wnids()))
    content = image(0, 8, 8)
    for split in ("train", "val"):
        for i, class_name in enumerate(wnids()):
            path = Path("source") / split / class_name
            path.mkdir(parents=True)
            end = f"{split}{i}".encode()  # after the image's end, where decoders do not look
            (path / "0.JPEG").write_bytes(content + end)

    manifest = prepared(**IMAGENET)
    assert manifest.classes == list(wnids())
    assert manifest.test is None
    assert "train has 1000 images, published are 1281167" in manifest.source
    for split in ("train", "val"):
        Path("source", split, wnids()[0]).rename(Path("source", split, "n99999999"))
    shutil.rmtree("data")
    assert re.search(r"missing or not among them: n01440764", refusal(**IMAGENET))
