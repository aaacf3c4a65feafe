"""Small data in the real formats."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from pipeline.datasets.cifar10 import FOLDER, RECORD, TEST, TRAIN, Facts
from pipeline.datasets.download import Pinned

Snapshot = dict[str, str]


def params(path: Path, name: str, data: Mapping[str, Any]) -> None:
    """A params.yaml with one experiment on `data`."""
    train = {
        "batch_size": 8, "iterations": 2, "lr": 0.1, "lr_drops": [], "momentum": 0.9, "weight_decay": 0.0001,
        "pad": 0, "flip": False, "record_every": 1, "validate_every": 1,
    }  # fmt: skip
    section = {"data": dict(data), "train": train, "seeds": [0], "networks": {"cifar-resnet-20": None}}
    with path.open("w", encoding="utf-8") as file:
        YAML().dump({"experiments": [name], name: section}, file)


def snapshot(root: Path) -> Snapshot:
    """Everything below `root`: its kind or the digest of its content."""
    found = {}
    for path in sorted(root.rglob("*")):
        link = f"-> {path.readlink()}" if path.is_symlink() else ""
        kind = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not link else "other"
        found[path.relative_to(root).as_posix()] = link or kind
    return found


def cifar10_files(records: int, seed: int = 0) -> dict[str, bytes]:
    """The files of CIFAR-10's binary version with so many records each; labels take turns."""
    generator = np.random.Generator(np.random.PCG64(seed))
    files = {}
    for name in (*TRAIN, TEST):
        table = generator.integers(0, 256, (records, RECORD), dtype=np.uint8)
        table[:, 0] = np.arange(records) % 10
        files[name] = table.tobytes()
    files["batches.meta.txt"] = b"airplane\nautomobile\n"
    files["readme.html"] = b"<html></html>"
    return files


def cifar10_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """They packed as they are published: a folder and regular files, in GNU's format."""
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        folder = tarfile.TarInfo(FOLDER)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def facts(archive: Path, records: int, address: str = "https://localhost/cifar-10-binary.tar.gz") -> Facts:
    """What would be pinned if this archive were the published one."""
    content = archive.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    pinned = Pinned(name="cifar-10-binary.tar.gz", address=address, bytes=len(content), sha256=digest)
    return Facts(archive=pinned, records=records)


def tar_member(name: bytes, content: bytes = b"", kind: bytes = b"0", size: int | None = None) -> bytes:
    """One member as bytes, well-formed but for what is asked."""
    header = bytearray(512)
    header[: len(name)] = name
    header[100:107], header[108:115], header[116:123] = b"0000644", b"0000000", b"0000000"
    header[124:135] = b"%011o" % (len(content) if size is None else size)
    header[136:147] = b"%011o" % 0
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % (sum(header) + 8 * 32)
    return bytes(header) + content + bytes(-len(content) % 512)


def image(seed: int, height: int = 40, width: int = 50, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    """An encoded image, smooth enough for its JPEG version to be like it."""
    generator = np.random.Generator(np.random.PCG64(seed))
    small = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    picture = small.resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        gray = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        picture = Image.fromarray(gray)
    elif mode != "RGB":
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def tree(root: Path, splits: Mapping[str, int], classes: tuple[str, ...] = ("bee", "cat", "dog")) -> None:
    """So many images a class in each split; the split "" stands for a tree without splits. JPEG and PNG take turns."""
    seed = 0
    for split, images in splits.items():
        for class_name in classes:
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for i in range(images):
                suffix, kind = (("jpg", "JPEG"), ("JPEG", "JPEG"), ("png", "PNG"))[i % 3]
                (folder / f"{i:03d}.{suffix}").write_bytes(image(seed, 30 + seed % 40, 30 + seed % 17, kind=kind))
                seed += 1
