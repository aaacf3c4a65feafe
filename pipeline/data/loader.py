"""Loads data/EXPERIMENT/ as the batches that training and evaluation read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.data.prepared import checked
from pipeline.records import File, Manifest, SplitInfo
from resnet.distributed import ALONE, Workers, shard
from resnet.in_memory_data import EvalBatches, EvalData, Images, TrainBatches, TrainData


@dataclass(frozen=True, slots=True)
class Splits:
    """The splits of an experiment as batches on the device; of several ranks, the shard of this one."""

    train: TrainData  # augmented
    clean_train: EvalData  # the same images as they are
    val: EvalData
    test: EvalData | None  # None where no labels are published


def load_splits(
    folder: Path, manifest: Manifest, device: torch.device, *, workers: int = 0, ranks: Workers = ALONE
) -> Splits:
    """Returns the data of `folder` on `device`. `workers` processes decode photographs; `ranks` train one run.

    Arrays are checked to the byte, shards by their size (`prepared.verify` reads them whole). Raises UserError, which
    names the damaged file and the command that makes it again.
    """
    mean = _array(folder, manifest.mean).to(device)
    if manifest.storage == "shards":
        return _shards(folder, manifest, mean, workers, ranks)

    def images(split: SplitInfo) -> Images:
        pixels, labels = (_array(folder, file).to(device) for file in split.files)
        return Images(pixels, labels, mean)

    def clean(images: Images) -> EvalBatches:
        return EvalBatches(images.part(shard(ranks, images.size)))

    train = images(manifest.train)
    test = None if manifest.test is None else clean(images(manifest.test))
    return Splits(TrainBatches(train, ranks), clean(train), clean(images(manifest.val)), test)


def _array(folder: Path, file: File) -> Tensor:
    return torch.from_numpy(np.load(checked(folder, file), allow_pickle=False))


def _shards(folder: Path, manifest: Manifest, mean: Tensor, workers: int, ranks: Workers) -> Splits:
    from pipeline.data.shards import ShardEval, Shards, ShardTrain  # imports what decodes, which arrays do not need

    assert manifest.colour is not None, "shards have colours"
    colour = _array(folder, manifest.colour).to(mean.device)

    def clean(split: Shards) -> ShardEval:
        return ShardEval(split, mean, workers, ranks)

    train, val = Shards(folder, manifest.train), Shards(folder, manifest.val)
    test = None if manifest.test is None else clean(Shards(folder, manifest.test))
    return Splits(ShardTrain(train, mean, colour, workers, ranks), clean(train), clean(val), test)
