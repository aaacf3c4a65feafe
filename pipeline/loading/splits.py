"""From data/<experiment>/ to what training and evaluation read, with the files checked against the manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UserError
from pipeline.loading.files import checked, files_of, mend, path_of
from pipeline.store.records import File, Manifest, SplitInfo
from resnet.data import Augmented, Clean, EvalData, Images, TrainData
from resnet.workers import ALONE, Workers, share


@dataclass(frozen=True, slots=True)
class Splits:
    """The splits of an experiment, ready for batches on the device."""

    train: TrainData  # augmented; of several workers, this one's shares of the batches
    clean_train: EvalData  # the same images as they are; this and the others: this worker's share of the images
    val: EvalData
    test: EvalData | None  # None where nobody has labels


def load_splits(
    folder: Path, manifest: Manifest, device: torch.device, *, workers: int = 0, together: Workers = ALONE
) -> Splits:
    """The data of `folder` on `device`; `workers` decode photographs beside this process.

    Of the processes that train one run `together`, each has its share.

    Arrays are checked to the byte. Shards are checked by their size (see `files.verify`), the mean to the byte. Raises
    UserError, naming the damaged file and what makes it again.
    """
    if manifest.storage == "arrays":
        return _arrays(folder, manifest, device, together)
    return _shards(folder, manifest, device, workers, together)


def _array(folder: Path, file: File) -> NDArray[Any]:
    path = checked(folder, file)
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: no array ({str(error).splitlines()[0]}); {mend(folder)}") from None
    return array


def _arrays(folder: Path, manifest: Manifest, device: torch.device, together: Workers) -> Splits:
    def clean(images: Images) -> Clean:
        return Clean(images.part(share(together, images.size)))

    mean = torch.from_numpy(_array(folder, manifest.mean))
    train = _images(folder, manifest, manifest.train, mean).to(device)
    val = _images(folder, manifest, manifest.val, mean).to(device)
    test = None if manifest.test is None else clean(_images(folder, manifest, manifest.test, mean).to(device))
    return Splits(Augmented(train, together), clean(train), clean(val), test)


def _images(folder: Path, manifest: Manifest, split: SplitInfo, mean: Tensor) -> Images:
    files = {file.path.rsplit(".", 2)[-2]: file for file in split.files}
    if set(files) != {"images", "labels"}:
        names = ", ".join(file.path for file in split.files)
        raise UserError(f"{folder / 'manifest.json'}: a split has {names}, not images and labels; {mend(folder)}")
    images, labels = _array(folder, files["images"]), _array(folder, files["labels"])
    shape = (split.images, manifest.channels, manifest.size, manifest.size)
    right = images.shape == shape and images.dtype == np.uint8
    right = right and labels.shape == shape[:1] and labels.dtype == np.int64
    if not right or labels.min() < 0 or labels.max() >= len(manifest.classes):
        raise UserError(f"{folder / files['images'].path}: not what the manifest says; {mend(folder)}")
    return Images(torch.from_numpy(images), torch.from_numpy(labels), mean)


def _shards(folder: Path, manifest: Manifest, device: torch.device, workers: int, together: Workers) -> Splits:
    from pipeline.loading.shards import ShardEval, Shards, ShardTrain  # decoding is not needed for arrays

    if manifest.colour is None:
        raise UserError(f"{folder / 'manifest.json'}: shards without colour.npy; {mend(folder)}")
    for file in files_of(manifest):
        path_of(folder, file)
    mean = torch.from_numpy(_array(folder, manifest.mean))
    colour = torch.from_numpy(_array(folder, manifest.colour))
    train = Shards(folder, manifest.train, mend(folder))
    val = Shards(folder, manifest.val, mend(folder))
    test = None if manifest.test is None else Shards(folder, manifest.test, mend(folder))
    return Splits(
        ShardTrain(train, mean, colour, device, workers, together),
        ShardEval(train, mean, device, workers, together),
        ShardEval(val, mean, device, workers, together),
        None if test is None else ShardEval(test, mean, device, workers, together),
    )
