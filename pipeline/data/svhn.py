"""SVHN, house numbers in street views (Netzer et al. 2011): MATLAB files of 32x32 colour images, one digit each."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.data import download
from pipeline.data.array_storage import Images, published_splits, write
from pipeline.data.data_set import DataSection
from pipeline.records import Manifest

ADDRESS = "http://ufldl.stanford.edu/housenumbers"
SHA256 = {
    "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
}
CLASSES = [str(digit) for digit in range(10)]


class Svhn(DataSection):
    """The `data` section of an experiment on SVHN."""

    dataset: Literal["svhn"]
    source: str | None = None  # folder with train_32x32.mat and test_32x32.mat; null downloads them
    validation: Annotated[int, Field(ge=0, le=36_000)]  # of the 73,257 training images; 0: `val` are the test images


def prepare(section: Svhn, target: Path, where: str) -> Manifest:
    """Writes `target`: the training images without `validation` of them, those, and the 26,032 test images.

    The 531,131 easier images of `extra_32x32.mat` are not used. Raises UserError for a wrong source, and
    EnvironmentFault where a file cannot be downloaded.
    """
    downloads = target.parent / ".downloads"
    train, test = (
        _read(download.published(f"{ADDRESS}/{name}", digest, section.source, downloads, where))
        for name, digest in SHA256.items()
    )
    splits, note = published_splits(train, test, section.validation, where)
    return write(target, "svhn", CLASSES, splits, f"SVHN, cropped digits ({ADDRESS}){note}")


def _read(path: Path) -> Images:
    """Returns the images of a file with X (32, 32, 3, N) uint8 and y (N, 1), in which 10 is the digit 0."""
    from scipy.io import loadmat  # takes half a second

    table: dict[str, Any] = loadmat(path, variable_names=["X", "y"])
    pixels = np.ascontiguousarray(table["X"].transpose(3, 2, 0, 1))
    return Images(pixels, table["y"].reshape(-1).astype(np.int64) % 10)
