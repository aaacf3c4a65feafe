"""CIFAR-10 from its binary version (Krizhevsky 2009; Sec. 4.2), which holds no pickle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import archives
from pipeline.datasets.arrays import Part, Small, by_content, digests, split
from pipeline.datasets.download import Opener, Pinned, fetch
from pipeline.errors import UserError
from pipeline.store.records import sha256

FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
TEXTS = ("batches.meta.txt", "readme.html")
MAX_TEXT = 1 << 16  # bytes
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, green and blue planes row by row
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PYTHON_VERSION = ("cifar-10-python.tar.gz", "cifar-10-batches-py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is published. Tests have a small archive of the same form."""

    archive: Pinned
    records: int  # in each of the six files


FACTS = Facts(
    archive=Pinned(
        name="cifar-10-binary.tar.gz",
        address="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        bytes=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    records=10_000,
)


def read(source: Path | None, validation: int, cache: Path, key: str, opener: Opener | None = None) -> Small:
    """The training images less `validation` of them, those, and the test images.

    `key` is the section, for messages. Raises UserError, or EnvironmentFault where it cannot be fetched.
    """
    facts, where = FACTS, f"{key}.source"
    if source is None:
        mend = (
            f"fetch it elsewhere, check that its SHA-256 is {facts.archive.sha256}, put {facts.archive.name} into a "
            f"folder and name that folder as {where} in params.yaml"
        )
        files, origin = _from_archive(fetch(facts.archive, cache, mend, opener), facts), "the archive"
    else:
        files, origin = _from_folder(source, facts, where)
    parts = [_records(files, name, facts) for name in TRAIN]
    train = Part(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))
    held_out = split(train, {"val": validation}, key)
    test = by_content(_records(files, TEST, facts))
    shared = len(set(digests(train)) & set(digests(test)))
    source_text = f"CIFAR-10, binary version, from {origin} ({facts.archive.address})"
    if shared:
        source_text += f"; {shared} images are in the published training and test parts alike"
    return Small("cifar10", CLASSES, held_out["train"], held_out["val"], test, source_text)


def _from_archive(archive: Path, facts: Facts) -> dict[str, bytes]:
    pinned = facts.archive
    try:
        size = archive.stat().st_size
        published = size == pinned.bytes and sha256(archive) == pinned.sha256
    except OSError as error:
        raise UserError(f"{archive}: {error.strerror}; make it readable") from None
    if not published:
        raise UserError(
            f"{archive}: not the published file ({size} bytes, SHA-256 {pinned.sha256} with {pinned.bytes} bytes is "
            f"expected); fetch it again from {pinned.address}"
        )
    limits = {f"{FOLDER}/{name}": facts.records * RECORD for name in (*TRAIN, TEST)}
    limits |= {f"{FOLDER}/{name}": MAX_TEXT for name in TEXTS}
    members = archives.read(archive, limits)
    files = {name.removeprefix(f"{FOLDER}/"): content for name, content in members.items()}
    for name in (*TRAIN, TEST):
        if name not in files:
            raise UserError(f"{archive}: {name} is missing in it; fetch it again from {pinned.address}")
    return files


def _from_folder(source: Path, facts: Facts, where: str) -> tuple[dict[str, bytes], str]:
    """The archive where it is there, since it is checked to the byte; else the unpacked files."""
    archive = source / facts.archive.name
    if archive.is_file():
        return _from_archive(archive, facts), "the archive"
    folder = next((f for f in (source / FOLDER, source) if (f / TRAIN[0]).exists()), None)
    if folder is None:
        has_python = any((source / name).exists() for name in PYTHON_VERSION) or source.name == PYTHON_VERSION[1]
        hint = "; the Python version there is a pickle, which is not read" if has_python else ""
        raise UserError(
            f"{where}: {source} has neither {facts.archive.name} nor {FOLDER}/{hint}; "
            f"put there the file of {facts.archive.address}, or set {where} to null to fetch it"
        )
    return {name: _whole(folder / name, facts) for name in (*TRAIN, TEST)}, "an unpacked folder"


def _whole(path: Path, facts: Facts) -> bytes:
    expected = facts.records * RECORD
    if not path.is_file():
        raise UserError(f"{path}: missing; unpack {facts.archive.name} again ({facts.archive.address})")
    if path.stat().st_size != expected:
        raise UserError(
            f"{path}: {path.stat().st_size} bytes, {facts.records} records of {RECORD} bytes are {expected}; "
            f"unpack {facts.archive.name} again ({facts.archive.address})"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make it readable") from None


def _records(files: dict[str, bytes], name: str, facts: Facts) -> Part:
    content = files[name]
    if len(content) != facts.records * RECORD:
        raise UserError(
            f"{name}: {len(content)} bytes, {facts.records} records of {RECORD} bytes are expected; "
            f"fetch it again from {facts.archive.address}"
        )
    table: NDArray[np.uint8] = np.frombuffer(content, np.uint8).reshape(facts.records, RECORD)
    labels = table[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        record = int(labels.argmax())
        raise UserError(
            f"{name}: record {record} has the label {labels[record]}, allowed are 0 to {len(CLASSES) - 1}; "
            f"fetch it again from {facts.archive.address}"
        )
    return Part(table[:, 1:].reshape(-1, 3, 32, 32), labels)
