"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels that need no download."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipeline.data.array_storage import Images, split, write
from pipeline.data.data_set import DataSection
from pipeline.records import Manifest

CLASSES = [str(digit) for digit in range(10)]
SOURCE = "load_digits of scikit-learn (UCI Optical Recognition of Handwritten Digits, its test part)"


class Digits(DataSection):
    """The `data` section of an experiment on the digits."""

    dataset: Literal["digits"]
    validation: Annotated[int, Field(ge=1, le=1000)]  # images held out for the curves
    test: Annotated[int, Field(ge=1, le=1000)]  # images held out until the networks are trained


def prepare(section: Digits, target: Path, where: str) -> Manifest:
    """Writes `target` from the package's own file. Raises UserError for splits that are too large.

    Values 0-16 become bytes by round(255 v / 16), which round(16 b / 255) inverts.
    """
    from sklearn.datasets import load_digits  # takes seconds

    table = load_digits()
    pixels = np.rint(table.images * 255.0 / 16.0).astype(np.uint8)
    images = Images(pixels[:, None], table.target.astype(np.int64))
    parts = split(images, {"test": section.test, "val": section.validation}, where)
    return write(target, "digits", CLASSES, parts, SOURCE)
