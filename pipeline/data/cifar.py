"""CIFAR-10 from its binary version (Krizhevsky 2009; Sec. 4.2), which holds no pickle."""

import logging
import tarfile
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipeline.data.array_storage import Images, by_content, split, write
from pipeline.data.data_set import DataSection
from pipeline.errors import EnvironmentFault, UserError
from pipeline.records import Manifest, sha256

ARCHIVE, FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
TEST = "test_batch.bin"
FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), TEST)
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, green and blue planes row by row
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TIMEOUT_S = 30.0  # without a byte


class Cifar10(DataSection):
    """The `data` section of an experiment on CIFAR-10."""

    dataset: Literal["cifar10"]
    source: str | None = None  # folder with cifar-10-binary.tar.gz; null downloads it
    validation: Annotated[int, Field(ge=0, le=25_000)]  # of the 50,000 training images; 0: `val` are the test images


def prepare(section: Cifar10, target: Path, where: str) -> Manifest:
    """Writes `target`: the training images without `validation` of them, those, and the test images.

    With 0 of them `val` are the test images, and there is no `test`: what is measured while a network trains are test
    errors, as in Fig. 6. Raises UserError for a wrong source, and EnvironmentFault where the archive cannot be
    downloaded.
    """
    place = f"{where}.source"
    if section.source is None:
        archive = _download(target.parent / ".downloads", place)
    else:
        archive = Path(section.source) / ARCHIVE
        if not archive.is_file() or sha256(archive) != SHA256:
            raise UserError(f"{place}: {archive}: missing, or not the published file; download {URL} there")
    parts = _read(archive)
    test = by_content(parts.pop(TEST))
    pixels = np.concatenate([part.pixels for part in parts.values()])
    train = Images(pixels, np.concatenate([part.labels for part in parts.values()]))
    splits = split(train, {"val": section.validation}, where) | {"test": test}
    source = f"CIFAR-10, binary version ({URL})"
    if shared := len(set(train.digests()) & set(test.digests())):
        source += f"; {shared} images are in the published training and test parts alike"
    if not section.validation:
        splits["val"] = splits.pop("test")
        source += "; `val` are the test images"
    return write(target, "cifar10", CLASSES, splits, source)


def _download(folder: Path, where: str) -> Path:
    """Returns the archive in `folder`, from there or from its address."""
    import pooch  # imports requests

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
        return Path(pooch.retrieve(URL, f"sha256:{SHA256}", fname=ARCHIVE, path=folder, downloader=downloader))
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors; ValueError: another SHA-256
        reason = " ".join(str(error).split())[:300]
        remedy = f"download it elsewhere and name its folder as {where} in params.yaml"
        raise EnvironmentFault(f"{URL} could not be downloaded ({reason}); {remedy}") from None


def _read(path: Path) -> dict[str, Images]:
    """Returns the images of the published files, by name."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
        tables = {name: np.fromfile(Path(folder) / FOLDER / name, np.uint8).reshape(-1, RECORD) for name in FILES}
    return {
        name: Images(table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0].astype(np.int64))
        for name, table in tables.items()
    }
