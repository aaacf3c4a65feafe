"""CIFAR-10 and CIFAR-100 from their binary versions (Krizhevsky 2009; Sec. 4.2), which hold no pickle."""

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.data import download
from pipeline.data.array_storage import Images, published_splits, write
from pipeline.data.data_set import DataSection
from pipeline.records import Manifest

PIXELS = 3 * 32 * 32  # bytes after the labels of a record: the red, green and blue planes row by row


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A published archive of records. A record's class is the last of its label bytes: of CIFAR-100 the fine one."""

    title: str
    url: str
    sha256: str
    folder: str
    train: tuple[str, ...]
    test: str
    label_bytes: int
    classes: tuple[str, ...] = ()  # none: the lines of fine_label_names.txt


CIFAR_10 = Archive(
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test="test_batch.bin",
    label_bytes=1,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR_100 = Archive(
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    label_bytes=2,
)


class Cifar(DataSection):
    """What the `data` sections of experiments on CIFAR-10 and CIFAR-100 have in common."""

    source: str | None = None  # folder with the archive of the binary version; null downloads it
    validation: Annotated[int, Field(ge=0, le=25_000)]  # of the 50,000 training images; 0: `val` are the test images


class Cifar10(Cifar):
    """The `data` section of an experiment on CIFAR-10."""

    dataset: Literal["cifar10"]


class Cifar100(Cifar):
    """The `data` section of an experiment on CIFAR-100, with its 100 fine classes."""

    dataset: Literal["cifar100"]


def prepare(section: Cifar, target: Path, where: str) -> Manifest:
    """Writes `target`: the training images without `validation` of them, those, and the test images.

    With 0 of them `val` are the test images, and there is no `test`: what is measured while a network trains are test
    errors, as in Fig. 6. Raises UserError for a wrong source, and EnvironmentFault where the archive cannot be
    downloaded.
    """
    archive = CIFAR_10 if section.dataset == "cifar10" else CIFAR_100
    path = download.published(archive.url, archive.sha256, section.source, target.parent / ".downloads", where)
    train, test, classes = _read(path, archive)
    splits, note = published_splits(train, test, section.validation, where)
    return write(target, section.dataset, classes, splits, f"{archive.title}, binary version ({archive.url}){note}")


def _read(path: Path, archive: Archive) -> tuple[Images, Images, list[str]]:
    """Returns the training images, the test images, and the names of their classes."""
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(path) as packed:
        packed.extractall(scratch, filter="data")
        folder = Path(scratch) / archive.folder
        classes = archive.classes or (folder / "fine_label_names.txt").read_text().split()
        files = [np.fromfile(folder / name, np.uint8) for name in (*archive.train, archive.test)]
    tables = [file.reshape(-1, archive.label_bytes + PIXELS) for file in files]
    train, test = (_images(table, archive.label_bytes) for table in (np.concatenate(tables[:-1]), tables[-1]))
    return train, test, list(classes)


def _images(table: NDArray[np.uint8], label_bytes: int) -> Images:
    return Images(table[:, label_bytes:].reshape(-1, 3, 32, 32), table[:, label_bytes - 1].astype(np.int64))
