"""The prepare stage: its table, digits, CIFAR, SVHN, image folders and ImageNet, and the files that it leaves."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

from pipeline import data
from pipeline.data import array_storage, arrow_storage, cifar, svhn
from pipeline.data.imagenet import wnids
from pipeline.data.loader import load_splits
from pipeline.data.prepared import manifest_of, verify
from pipeline.errors import ENVIRONMENT, EnvironmentFault, UserError
from pipeline.records import Manifest, sha256
from tests.factories.data import (
    cifar_archive,
    cifar_files,
    deep_png,
    encoded,
    flip_bit,
    image,
    prepared,
    snapshot,
    tree,
)

TEST_FILES = ("data/x/test.images.npy", "data/x/test.labels.npy")
SPLITS = {"train": 6, "val": 4, "test": 3}
DATA: dict[str, Any] = {"dataset": "folder", "source": "source", "validation": 0.2, "test": 0.2}
IMAGENET: dict[str, Any] = {"dataset": "imagenet", "source": "source"}
ARCHIVE = "cifar-10-binary.tar.gz"
RECORDS = 20  # in each of the six files of the small CIFAR-10
CPU = torch.device("cpu")
DIGITS: dict[str, Any] = {"dataset": "digits", "validation": 200, "test": 300}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small archive of the published form, pinned as if it were the published one."""
    folder = tmp_path / "source"
    folder.mkdir()
    archive = folder / ARCHIVE
    cifar_archive(archive, cifar_files(RECORDS))
    small = replace(cifar.CIFAR_10, url=f"https://localhost:1/{ARCHIVE}", sha256=sha256(archive))
    monkeypatch.setattr(cifar, "CIFAR_10", small)
    return folder


def test_the_table_is_light_and_consistent() -> None:
    script = (
        "import sys, pipeline.data; print({'torch', 'pyarrow', 'scipy', 'sklearn', 'PIL', 'pooch'} & set(sys.modules))"
    )
    words = [sys.executable, "-c", script]
    top = Path(__file__).parents[2]
    assert subprocess.run(words, capture_output=True, text=True, cwd=top, check=True).stdout == "set()\n"
    for name, row in data.DATASETS.items():
        assert name == row.name
        assert row.section.model_fields["dataset"].annotation.__args__ == (name,)  # type: ignore[union-attr]
    assert data.of("imagenet").headline == "val"


def test_digits_lose_no_value_and_no_image() -> None:
    manifest = prepared(**DIGITS)
    assert (manifest.train.images, manifest.val.images, manifest.test and manifest.test.images) == (1297, 200, 300)
    assert manifest_of("x") == manifest
    whole = np.concatenate([np.load(f"data/x/{name}.images.npy") for name in ("train", "val", "test")])
    assert whole.shape == (1797, 1, 8, 8)
    back = np.rint(whole.astype(np.float64) * 16 / 255)
    assert sorted(image.tobytes() for image in back[:, 0]) == sorted(image.tobytes() for image in load_digits().images)
    assert len({image.tobytes() for image in whole}) == len(whole)
    train = np.load("data/x/train.images.npy")
    np.testing.assert_allclose(np.load("data/x/mean.npy"), train.mean(axis=0), atol=1e-4)


def test_the_digits_of_params_yaml_are_the_same_everywhere() -> None:
    manifest = prepared(dataset="digits", validation=250, test=250)
    assert manifest.digest() == "98d19cc2e10f2467bf026b3e225cc7625792894786382e179d5fe64d8d80ac65"
    before = snapshot(Path("data/x"))
    prepared(dataset="digits", validation=250, test=250)
    assert snapshot(Path("data/x")) == before
    assert [path.name for path in Path("data").iterdir()] == ["x"]  # nothing is left over


def test_the_order_of_images_changes_nothing_and_equal_images_stay_together() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    pixels = generator.integers(0, 256, (40, 1, 2, 2), dtype=np.uint8)
    pixels[20:36] = pixels[:16]  # 16 images exist twice
    images = array_storage.Images(pixels, np.arange(40) % 20)
    shuffled = images.take(generator.permutation(40).tolist())
    one, other = (array_storage.split(part, {"test": 11, "val": 7}, "x.data") for part in (images, shuffled))
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(one[name].pixels, other[name].pixels)
        np.testing.assert_array_equal(one[name].labels, other[name].labels)
    sets = [set(split.digests()) for split in one.values()]
    assert sum(map(len, sets)) == len(sets[0] | sets[1] | sets[2])
    assert {name: len(split.labels) for name, split in one.items()} == {"test": 11, "val": 7, "train": 22}


def test_cifar10_is_the_same_from_a_folder_and_downloaded(small_cifar10: Path) -> None:
    section = {"dataset": "cifar10", "source": str(small_cifar10), "validation": 30}
    manifest = prepared(**section)
    assert (manifest.train.images, manifest.val.images) == (5 * RECORDS - 30, 30)
    assert manifest.test is not None
    assert manifest.test.per_class == dict.fromkeys(cifar.CIFAR_10.classes, RECORDS // 10)
    assert str(small_cifar10) not in manifest.model_dump_json()
    record = cifar_files(RECORDS)["test_batch.bin"][: 1 + cifar.PIXELS]
    image = np.frombuffer(record[1:], np.uint8).reshape(3, 32, 32)  # red, green, blue; row by row
    assert any((image == other).all() for other in np.load("data/x/test.images.npy"))

    Path("data/.downloads").mkdir()
    shutil.copy(small_cifar10 / ARCHIVE, "data/.downloads")  # it is not downloaded again
    assert prepared(**{**section, "source": None}).digest() == manifest.digest()


def test_cifar10_without_validation_images_is_trained_on_as_a_whole(small_cifar10: Path) -> None:
    """What is measured in training, and published, is the error on the test images, as in Fig. 6."""
    section = {"dataset": "cifar10", "source": str(small_cifar10)}
    prepared(**section, validation=30)
    test = np.load("data/x/test.images.npy")
    manifest = prepared(**section, validation=0)
    assert (manifest.train.images, manifest.test, data.headline(manifest)) == (5 * RECORDS, None, "val")
    assert manifest.source.endswith("; `val` are the test images")
    np.testing.assert_array_equal(np.load("data/x/val.images.npy"), test)


def test_a_failed_download_is_one_line_and_changes_nothing(small_cifar10: Path) -> None:
    with pytest.raises(EnvironmentFault) as fault:
        prepared(dataset="cifar10", source=None, validation=30)
    assert fault.value.exit_code == ENVIRONMENT
    for part in ("https://localhost:1/cifar-10-binary.tar.gz could not be downloaded", "x.data.source"):
        assert part in str(fault.value)
    assert "\n" not in str(fault.value)
    assert not Path("data/x").exists()


def test_cifar100_has_its_fine_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, archive = cifar.CIFAR_100, tmp_path / "cifar-100-binary.tar.gz"
    files = cifar_files(200, of=of)
    cifar_archive(archive, files, of)
    monkeypatch.setattr(cifar, "CIFAR_100", replace(of, sha256=sha256(archive)))
    manifest = prepared(dataset="cifar100", source=str(tmp_path), validation=50)
    assert (manifest.train.images, manifest.val.images) == (150, 50)
    assert manifest.test is not None
    assert manifest.test.per_class == {f"class{i}": 2 for i in range(100)}
    record = np.frombuffer(files["test.bin"], np.uint8).reshape(200, -1)[7]  # coarse label, fine label, pixels
    own = {image.tobytes(): label for image, label in zip(*map(np.load, TEST_FILES), strict=True)}
    assert own[record[2:].tobytes()] == record[1] == 7


def test_svhn_is_read_from_matlab_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    for name in svhn.SHA256:
        pixels = generator.integers(0, 256, (32, 32, 3, 40), dtype=np.uint8)
        labels = (np.arange(40) % 10 + 1).astype(np.uint8)[:, None]  # 1 to 10, which is the digit 0
        savemat(tmp_path / name, {"X": pixels, "y": labels})
    monkeypatch.setattr(svhn, "SHA256", {name: sha256(tmp_path / name) for name in svhn.SHA256})
    manifest = prepared(dataset="svhn", source=str(tmp_path), validation=10)
    assert manifest.test is not None
    assert (manifest.train.images, manifest.val.images) == (30, 10)
    assert manifest.test.per_class == {str(digit): 4 for digit in range(10)}
    own = {image.tobytes(): label for image, label in zip(*map(np.load, TEST_FILES), strict=True)}
    assert own[pixels[..., 9].transpose(2, 0, 1).tobytes()] == 0
    assert own[pixels[..., 3].transpose(2, 0, 1).tobytes()] == 4
    flip_bit(tmp_path / "test_32x32.mat")
    with pytest.raises(UserError, match=r"x\.data\.source: .*test_32x32\.mat: missing, or not the published file"):
        prepared(dataset="svhn", source=str(tmp_path), validation=10)


CIFAR10 = {"dataset": "cifar10", "source": "source"}


@pytest.mark.parametrize(
    ("damage", "section", "reason"),
    [
        (flip_bit, {**CIFAR10, "validation": 30}, "not the published file"),
        (Path.unlink, {**CIFAR10, "validation": 30}, "missing, or not"),
        (Path.exists, {**CIFAR10, "validation": 100}, r"x\.data: .*leaves nothing to train on"),
        (Path.exists, {"dataset": "digits", "validation": 900, "test": 897}, r"x\.data: .*leaves nothing to train on"),
    ],
)
def test_refusals_change_nothing(
    damage: Callable[[Path], object], section: dict[str, Any], reason: str, small_cifar10: Path
) -> None:
    damage(small_cifar10 / ARCHIVE)
    Path("data/x").mkdir(parents=True)
    Path("data/x/manifest.json").write_text("{}")
    before = snapshot(Path("data"))
    with pytest.raises(UserError, match=reason) as refused:
        prepared(**section)
    assert "\n" not in str(refused.value)
    assert snapshot(Path("data")) == before


def test_load_and_verify_find_a_flipped_bit() -> None:
    manifest = prepared(**DIGITS)
    folder = Path("data/x")
    splits = load_splits(folder, manifest, CPU)
    assert splits.test is not None
    assert (splits.train.size, splits.clean_train.size, splits.val.size, splits.test.size) == (1297, 1297, 200, 300)
    images, labels = next(splits.val.batches(50))
    assert (images.shape, images.dtype, labels.dtype) == ((50, 1, 8, 8), torch.float32, torch.int64)
    verify(folder, manifest)
    checks: list[Callable[[Path, Manifest], object]] = [verify, lambda path, known: load_splits(path, known, CPU)]
    for damage in (flip_bit, Path.unlink):
        damage(folder / "val.images.npy")
        for check in checks:
            with pytest.raises(UserError, match=r"val\.images\.npy.*dvc repro -f prepare@x"):
                check(folder, manifest)


# Image folders: every image is decoded, every mistake is named


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


def two_of_each(root: Path) -> None:
    shutil.rmtree(root)
    tree(root, {"": 2})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, r"x\.data\.source: source is not a folder"),
        (lambda root: (root / "val/cat/gone.png").symlink_to("nowhere.png"), r"gone\.png: No such file"),
        (lambda root: shutil.rmtree(root / "val"), "without val/"),
        (lambda root: shutil.rmtree(root / "val/dog"), "not in every one of train, val, test: dog"),
        (lambda root: shutil.copy(root / "train/dog/000.jpg", root / "val/cat/z.jpg"), "the same image in two splits"),
        (two_of_each, "too few different images to give train one of each class: bee; cat; dog"),
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
