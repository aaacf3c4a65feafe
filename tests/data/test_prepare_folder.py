"""The prepare stage on image folders and ImageNet: every image looked at, every mistake named."""

import hashlib
import io
import os
import re
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.config import params
from pipeline.datasets import folder as folders
from pipeline.datasets import images, pack
from pipeline.errors import EnvironmentFault, UserError
from pipeline.loading.files import verify
from pipeline.prepare import prepare
from pipeline.store.records import Manifest
from tests import makers

SPLITS = {"train": 6, "val": 4, "test": 3}
DATA = {"dataset": "folder", "source": "source", "validation": 0.2, "test": 0.2}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(data: dict[str, object] | None = None) -> Manifest:
    makers.params(Path("params.yaml"), "x", data or DATA)
    return prepare(params.load("x"))


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


def test_a_tree_with_splits_is_packed_as_it_is() -> None:
    makers.tree(Path("source"), SPLITS)
    (Path("source") / "train" / ".DS_Store").write_bytes(b"x")
    (Path("source") / "train" / "bee" / "Thumbs.db").write_bytes(b"x")
    (Path("source") / ".hidden").mkdir()
    manifest = run()
    verify(Path("data/x"), manifest)
    assert manifest.classes == ["bee", "cat", "dog"]
    assert manifest.source.startswith("a folder")
    for split, number in SPLITS.items():
        found = rows(Path("data/x"), manifest, split)
        assert Counter(label for _, label, _ in found) == {0: number, 1: number, 2: number}
        hashes = [hashlib.sha256(image).hexdigest() for image, _, _ in found]
        assert hashes == sorted(hashes)
        for image, label, name in found:
            assert (Path("source") / name).read_bytes() == image
            assert name.split("/")[:2] == [split, manifest.classes[label]]
    mean = np.load("data/x/mean.npy")
    assert mean.shape == (3, 224, 224)
    colour = np.load("data/x/colour.npy")
    assert colour.shape == (2, 3, 3)
    np.testing.assert_allclose(colour[0].T @ colour[0], np.eye(3), atol=1e-5)
    assert (np.diff(np.diag(colour[1])) <= 0).all()


def test_a_tree_without_splits_is_split_by_content() -> None:
    makers.tree(Path("source"), {"": 20})
    shutil.copy("source/bee/000.jpg", "source/bee/copy.jpg")
    shutil.copy("source/bee/001.JPEG", "source/cat/copy.jpg")
    manifest = run()
    assert manifest.test is not None
    assert manifest.val.per_class == {"bee": 4, "cat": 4, "dog": 4}
    assert manifest.train.images + manifest.val.images + manifest.test.images == 62
    homes: dict[bytes, set[str]] = {}
    for split in SPLITS:
        for image, _, _ in rows(Path("data/x"), manifest, split):
            homes.setdefault(image, set()).add(split)
    assert all(len(home) == 1 for home in homes.values())


def test_shares_are_kept_where_images_are_equal() -> None:
    entries = [pack.Entry(f"{i}.png", f"{i}.png", i % 2, 1, f"{i // 4 * 2 + i % 2:064d}") for i in range(60)]  # pairs
    entries.sort(key=lambda entry: entry.sha256)
    splits = folders._split(entries, ["a", "b"], {"test": 0.1, "val": 0.1}, "x.data")
    for name in ("test", "val"):  # 3 of 30 are asked for in each class: one pair fits
        assert Counter(entry.label for entry in splits[name]) == {0: 2, 1: 2}
    homes = {entry.sha256: name for name, part in splits.items() for entry in part}
    assert all(homes[entry.sha256] == name for name, part in splits.items() for entry in part)


def test_mean_and_colour_are_those_of_the_training_images() -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    tones = generator.integers(0, 256, (2, 4, 3), dtype=np.uint8)
    for split, number in (("train", 4), ("val", 1)):
        for i, class_name in enumerate(("a", "b")):
            Path(f"source/{split}/{class_name}").mkdir(parents=True)
            for j in range(number):
                tone = tones[i, j] if split == "train" else (i, j, 200)
                Image.new("RGB", (256, 300), tuple(map(int, tone))).save(f"source/{split}/{class_name}/{j}.png")
    run()
    flat = tones.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(np.load("data/x/mean.npy")[:, 100, 7], flat.mean(axis=0), rtol=1e-6)
    vectors, values = np.load("data/x/colour.npy").astype(np.float64)
    np.testing.assert_allclose(vectors @ values @ vectors.T, np.cov(flat.T / 255, bias=True), atol=1e-6)


def test_the_same_bytes_for_any_order_and_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    makers.tree(Path("source"), {"": 34})
    monkeypatch.setattr(pack, "SHARD", 40_000)
    one = run()
    assert len(one.train.files) > 2
    before = makers.snapshot(Path("data/x"))
    paths = [path for path in Path("source").rglob("*") if path.is_file()]
    for path in reversed(paths):  # new inodes, another order in the folder
        shutil.copy(path, "moving")
        path.unlink()
        os.replace("moving", path)
    monkeypatch.setattr(pack, "CHUNK", 5)
    monkeypatch.setattr(folders, "CHUNK", 5)
    monkeypatch.setattr(pack, "workers_for", lambda _: 2)
    assert run().digest() == one.digest()
    assert makers.snapshot(Path("data/x")) == before


MODES = [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("I;16", "PNG")]


def test_conversions_are_counted() -> None:
    makers.tree(Path("source"), SPLITS)
    for i, (mode, kind) in enumerate(MODES):
        Path(f"source/train/cat/mode{i}.png").write_bytes(makers.image(900 + i, mode=mode, kind=kind))
    Path("source/train/cat/deep.png").write_bytes(deep_png())
    assert run().conversions == {**{mode: 1 for mode, _ in MODES}, "RGB;16": 1}


def deep_png() -> bytes:
    """A PNG of 2x1 pixels with 16 bits a channel, which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 65535, 32896))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_sixteen_bits_become_eight_by_scale() -> None:
    assert np.asarray(images.decode(deep_png())[0]).tolist() == [[[255, 0, 0], [0, 255, 128]]]
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 257, 65535, 32896, 65335]], np.uint16)).save(buffer, "PNG")
    image, mode = images.decode(buffer.getvalue())
    assert mode == "I;16"
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 255, 128, 254]


def huge_png() -> bytes:
    """A header that promises 65535x65535 pixels."""
    content = makers.image(1, kind="PNG")
    header = struct.pack(">II", 65535, 65535) + content[24:29]
    return content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:]


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (5, 5)).save(buffer, "GIF")
    return buffer.getvalue()


BROKEN = {
    "empty": (b"", "empty"),
    "truncated JPEG": (makers.image(1)[:-200], "truncated"),
    "truncated PNG": (makers.image(1, kind="PNG")[:-200], ""),
    "text": (b"<html>not found</html>", "neither JPEG nor PNG"),
    "GIF": (gif(), "neither JPEG nor PNG"),
    "bomb": (huge_png(), "pixels"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_images_are_refused_by_path(name: str) -> None:
    content, reason = BROKEN[name]
    makers.tree(Path("source"), SPLITS)
    Path("source/val/dog/broken.jpg").write_bytes(content)
    assert re.search(rf"1 broken images: source/val/dog/broken.jpg: .*{reason}", refusal())


def refusal(data: dict[str, object] | None = None) -> str:
    """What the stage says, in one line; the disk is as it was before."""
    makers.params(Path("params.yaml"), "x", data or DATA)
    before = makers.snapshot(Path())
    with pytest.raises(UserError) as refused:
        prepare(params.load("x"))
    assert "\n" not in str(refused.value)
    assert makers.snapshot(Path()) == before
    return str(refused.value)


def many_broken(root: Path) -> None:
    for i in range(9):
        (root / "train" / "bee" / f"x{i}.png").write_bytes(b"no")


def loop(root: Path) -> None:
    (root / "train" / "bee" / "loop.png").symlink_to("loop.png")


def all_but_one_class(root: Path) -> None:
    for split in SPLITS:
        for class_name in ("cat", "dog"):
            shutil.rmtree(root / split / class_name)


def every_image_of(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, r"x\.data\.source: source is not a folder"),
        (many_broken, "9 broken images: .*x0.png.*9 in all"),
        (loop, r"loop\.png: Too many levels of symbolic links"),
        (lambda root: (root / "val/cat/gone.png").symlink_to("nowhere.png"), r"gone\.png: No such file"),
        (lambda root: os.mkfifo(root / "val/cat/pipe.png"), r"pipe\.png: not a regular file"),
        (lambda root: (root / "val/cat/inner").mkdir(), "inner: not a regular file"),
        (lambda root: (root / "val/cat/notes.txt").write_text("x"), r"notes\.txt: not an image by its name"),
        (lambda root: (root / "val/notes.txt").write_text("x"), r"notes\.txt is no class folder"),
        (lambda root: (root / "extra").mkdir(), "extra beside train/"),
        (lambda root: shutil.rmtree(root / "val"), "without val/"),
        (lambda root: shutil.rmtree(root / "val/dog"), "val: classes of train/ are missing: dog"),
        (lambda root: (root / "val/eel").mkdir(), "classes that train/ does not have: eel"),
        (lambda root: every_image_of(root / "val/dog"), "dog: a class without images"),
        (lambda root: shutil.copytree(root / "train/dog", root / "train/DOG"), "'DOG' and 'dog' differ in case alone"),
        (lambda root: shutil.copy(root / "train/dog/000.jpg", root / "val/cat/z.jpg"), "the same image in two splits"),
        (lambda root: (root / "val/cat/a\nb.png").write_bytes(b"x"), "cannot be printed"),
        (lambda root: os.mkdir(os.fsencode(root / "val") + b"/\xff"), "cannot be printed"),
        (all_but_one_class, "at least 2"),
    ],
)
def test_mistakes_in_the_tree_are_refused(damage: Callable[[Path], object], reason: str) -> None:
    makers.tree(Path("source"), SPLITS)
    damage(Path("source"))
    assert re.search(reason, refusal())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_named() -> None:
    makers.tree(Path("source"), SPLITS)
    Path("source/train/bee/000.jpg").chmod(0)
    assert "000.jpg: Permission denied" in refusal()


def test_a_class_of_trains_is_no_split() -> None:
    makers.tree(Path("source"), {"": 6}, ("boat", "train"))
    assert run().classes == ["boat", "train"]


def test_too_few_images_for_a_split_are_refused() -> None:
    makers.tree(Path("source"), {"": 2})
    assert "too few different images to give train one of each class: bee; cat; dog" in refusal()


def test_a_full_disk_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    makers.tree(Path("source"), SPLITS)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(EnvironmentFault, match="MiB are needed"):
        run()
    assert not Path("data").exists()


def test_a_failure_while_packing_leaves_the_old_data(monkeypatch: pytest.MonkeyPatch) -> None:
    makers.tree(Path("source"), SPLITS)
    run()
    before = makers.snapshot(Path())

    def changing(job: pack.Job) -> object:
        raise UserError(f"{job.entries[0].path}: changed while it was packed; run the stage again")

    monkeypatch.setattr(folders, "pack", changing)
    with pytest.raises(UserError, match="changed while"):
        run()
    assert makers.snapshot(Path()) == before


def test_an_image_that_changes_while_it_is_packed_is_noticed() -> None:
    Path("a.png").write_bytes(b"new")
    with pytest.raises(UserError, match=r"a\.png: changed while it was packed"):
        pack.content(pack.Entry("a.png", "a.png", 0, 3, "0" * 64))


def imagenet(classes: tuple[str, ...]) -> None:
    content = makers.image(0, 8, 8)
    for split in ("train", "val"):
        for i, class_name in enumerate(classes):
            path = Path("source") / split / class_name
            path.mkdir(parents=True)
            end = f"{split}{i}".encode()  # after the image's end, where decoders do not look
            (path / "0.JPEG").write_bytes(content + end)


def test_imagenet_has_its_thousand_classes() -> None:
    assert len(folders.wnids()) == len(set(folders.wnids())) == 1000
    assert list(folders.wnids()) == sorted(folders.wnids())
    assert (folders.wnids()[0], folders.wnids()[-1]) == ("n01440764", "n15075141")


def test_a_subset_of_imagenet_is_noted() -> None:
    imagenet(folders.wnids())
    manifest = run({"dataset": "imagenet", "source": "source"})
    assert manifest.classes == list(folders.wnids())
    assert manifest.test is None
    assert "train has 1000 images, published are 1281167" in manifest.source


def test_a_class_of_imagenet_that_is_missing_is_refused() -> None:
    imagenet((*folders.wnids()[1:5], "n99999999"))
    said = refusal({"dataset": "imagenet", "source": "source"})
    assert re.search(r"missing n01440764.*996 in all.*not in ILSVRC2012: n99999999", said)
