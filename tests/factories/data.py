"""Small data in the real formats."""

import gzip
import hashlib
import io
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import config
from pipeline.data.cifar import CIFAR_10, PIXELS, Archive
from pipeline.prepare import prepare
from pipeline.records import Manifest
from tests.factories.params import params, write

Snapshot = dict[str, str]
CLASSES = ("bee", "cat", "dog")


def prepared(**data: Any) -> Manifest:
    """Prepares data/x in the current folder, from a params.yaml that it writes there."""
    content = params({"tiny.data": data, "tiny.train.pad": 0})
    write(Path("params.yaml"), {"experiments": ["x"], "x": content["tiny"]})
    return prepare(config.load("x"))


def snapshot(root: Path) -> Snapshot:
    """Returns everything below `root`: its kind or the digest of its content."""
    found = {}
    for path in sorted(root.rglob("*")):
        link = f"-> {path.readlink()}" if path.is_symlink() else ""
        kind = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not link else "other"
        found[path.relative_to(root).as_posix()] = link or kind
    return found


def flip_bit(path: Path) -> None:
    """Damages a file without a change of its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cifar_files(records: int, seed: int = 0, of: Archive = CIFAR_10) -> dict[str, bytes]:
    """Returns the files of CIFAR's binary version with so many records each, labelled 0, 1, ... in turn."""
    generator = np.random.Generator(np.random.PCG64(seed))
    classes = len(of.classes) or 100
    files = {"readme.html": b"<html></html>", "fine_label_names.txt": b"".join(b"class%d\n" % i for i in range(100))}
    for name in (*of.train, of.test):
        table = generator.integers(0, 256, (records, of.label_bytes + PIXELS), dtype=np.uint8)
        table[:, of.label_bytes - 1] = np.arange(records) % classes
        files[name] = table.tobytes()
    return files


def cifar_archive(path: Path, files: Mapping[str, bytes], of: Archive = CIFAR_10) -> None:
    """Packs them as they are published: a folder and regular files, in GNU's format."""
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        folder = tarfile.TarInfo(of.folder)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(f"{of.folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """Returns the content of an IDX file of bytes."""
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def idx_files(folder: Path, names: Sequence[str], *, images: int = 40, size: int = 6, classes: int = 10) -> None:
    """Writes training images, their labels 0, 1, ... in turn, and the same of the test part; gzipped by name."""
    generator = np.random.Generator(np.random.PCG64(images))
    folder.mkdir(parents=True, exist_ok=True)
    labels = (np.arange(images) % classes).astype(np.uint8)
    for i, name in enumerate(names):
        values = labels if i % 2 else generator.integers(0, 256, (images, size, size), dtype=np.uint8)
        content = idx_bytes(values)
        (folder / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)


def image(seed: int, height: int = 40, width: int = 50, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    """Returns an encoded image, smooth enough for its JPEG version to be like it."""
    generator = np.random.Generator(np.random.PCG64(seed))
    small = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    picture = small.resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        gray = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        picture = Image.fromarray(gray)
    elif mode != "RGB":
        picture = picture.convert(mode)
    return encoded(picture, kind)


def encoded(picture: Image.Image, kind: str) -> bytes:
    """Returns the content of an image file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def deep_png() -> bytes:
    """Returns a PNG of 2x1 pixels with 16 bits a channel, which Pillow does not write."""
    pixels = zlib.compress(b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 65535, 32896))
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tree(root: Path, splits: Mapping[str, int], classes: tuple[str, ...] = CLASSES) -> None:
    """Writes so many images a class in each split, JPEG and PNG; the split "" is a tree without splits."""
    seed = 0
    for split, images in splits.items():
        for class_name in classes:
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for i in range(images):
                suffix, kind = (("jpg", "JPEG"), ("JPEG", "JPEG"), ("png", "PNG"))[i % 3]
                (folder / f"{i:03d}.{suffix}").write_bytes(image(seed, 30 + seed % 40, 30 + seed % 17, kind=kind))
                seed += 1
