"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels that need no download."""

import importlib

import numpy as np

from pipeline.datasets.arrays import Part, Small, split


def read(validation: int, test: int, where: str) -> Small:
    """The values 0-16 as bytes 0-255, by round(255 v / 16), which round(16 b / 255) takes back."""
    table = importlib.import_module("sklearn.datasets").load_digits()  # an untyped package, and slow to import
    bytes_ = np.rint(table.images * 255.0 / 16.0).astype(np.uint8)
    whole = Part(bytes_[:, None], table.target.astype(np.int64))
    parts = split(whole, {"test": test, "val": validation}, where)
    return Small(
        dataset="digits",
        classes=[str(digit) for digit in range(10)],
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        source="load_digits of scikit-learn (UCI Optical Recognition of Handwritten Digits, its test part)",
    )
