"""Data sets: from their sources to data/EXPERIMENT/, and from there to batches.

A new data set is a module with its section of params.yaml and a function `prepare`, and a row of `DATASETS`.
"""

from typing import Literal

from pipeline.data import cifar, digits, idx, image_folder, imagenet, svhn
from pipeline.data.data_set import DataSet
from pipeline.records import Manifest

_ROWS = (
    DataSet(
        name="digits",
        section=digits.Digits,
        prepare=digits.prepare,
        title="digits of scikit-learn",
        about="handwritten digits of 8x8 pixels that come with scikit-learn. A small and easy task: it can show "
        "whether deeper plain networks become harder to train; it says nothing about ImageNet or its errors",
        storage="arrays",
        small=True,
    ),
    DataSet(
        name="idx",
        section=idx.Idx,
        prepare=idx.prepare,
        title="images in MNIST's format",
        about="small grey images in MNIST's format, such as Fashion-MNIST, not the paper's data. It can show whether "
        "deeper plain networks become harder to train; its errors cannot be compared with the paper's",
        storage="arrays",
        small=True,
    ),
    DataSet(
        name="cifar10",
        section=cifar.Cifar10,
        prepare=cifar.prepare,
        title="CIFAR-10",
        about="CIFAR-10, the data of the paper's Sec. 4.2. It says nothing about ImageNet",
        storage="arrays",
        paper_family="cifar",
        published_as="CIFAR-10",
    ),
    DataSet(
        name="cifar100",
        section=cifar.Cifar100,
        prepare=cifar.prepare,
        title="CIFAR-100",
        about="CIFAR-100 with its 100 fine classes, which the paper of 2015 does not use",
        storage="arrays",
    ),
    DataSet(
        name="svhn",
        section=svhn.Svhn,
        prepare=svhn.prepare,
        title="SVHN",
        about="SVHN, digits of house numbers in street views, which the paper does not use",
        storage="arrays",
    ),
    DataSet(
        name="folder",
        section=image_folder.Folder,
        prepare=image_folder.prepare,
        title="folder of images",
        about="a folder of images, not the paper's data. It can show whether deeper plain networks become harder to "
        "train; its errors cannot be compared with the paper's",
        storage="shards",
    ),
    DataSet(
        name="imagenet",
        section=imagenet.ImageNet,
        prepare=imagenet.prepare,
        title="ImageNet 2012",
        about="ImageNet 2012, the data of the paper's Sec. 4.1. Errors are those of the protocol in each cell, which "
        "need not be the paper's 10 crops",
        storage="shards",
        headline="val",  # the labels of the test images are not published
        paper_family="imagenet",
        published_as="ImageNet",
    ),
)
DATASETS: dict[str, DataSet] = {row.name: row for row in _ROWS}


def of(data: str | Manifest) -> DataSet:
    """Returns the row of a data set, by its name or by what was prepared from it."""
    return DATASETS[data if isinstance(data, str) else data.dataset]


def headline(manifest: Manifest) -> Literal["val", "test"]:
    """Returns the split whose errors are published: `val` too where no test images have labels."""
    return "val" if manifest.test is None else of(manifest).headline
