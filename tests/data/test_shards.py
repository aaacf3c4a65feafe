"""Photographs for training: the views of Sec. 3.4, and batches that do not depend on who decodes them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.config import params
from pipeline.datasets import pack
from pipeline.datasets.images import decode
from pipeline.errors import UserError
from pipeline.loading.files import verify
from pipeline.loading.shards import Shards, ShardTrain
from pipeline.loading.splits import Splits, load_splits
from pipeline.prepare import prepare
from pipeline.store.records import Manifest
from resnet import sampling, views
from resnet.data import Batch
from resnet.recipe import Recipe
from tests import makers

CPU = torch.device("cpu")
TRAIN = 33  # images
RECIPE = Recipe(
    batch_size=8, iterations=10, lr=0.1, lr_drops=(), momentum=0.9, weight_decay=0.0, pad=0, flip=True,
    record_every=1, validate_every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A prepared folder of several shards, with several record batches in each."""
    top = tmp_path_factory.mktemp("shards")
    makers.tree(top / "source", {"train": TRAIN // 3, "val": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        patch.setattr(pack, "SHARD", 15_000)
        patch.setattr(pack, "BATCH_ROWS", 4)
        source: dict[str, object] = {"dataset": "folder", "source": "source", "validation": 0.1, "test": 0.1}
        makers.params(Path("params.yaml"), "x", source)
        return top / "data" / "x", prepare(params.load("x"))


def loaded(data: tuple[Path, Manifest], workers: int = 0) -> Splits:
    return load_splits(*data, CPU, workers=workers)


def taken(batches: Iterator[Batch], number: int) -> list[Batch]:
    return list(islice(batches, number))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


def test_batches_are_the_same_for_any_number_of_workers_and_after_a_restart(data: tuple[Path, Manifest]) -> None:
    assert len(data[1].train.files) > 1
    alone = taken(loaded(data).train.batches(RECIPE, 7, 0), 9)  # more than two epochs
    assert equal(taken(loaded(data, 2).train.batches(RECIPE, 7, 0), 9), alone)
    assert equal(taken(loaded(data).train.batches(RECIPE, 7, 5), 4), alone[5:])
    assert equal(taken(loaded(data, 2).train.batches(RECIPE, 7, 5), 4), alone[5:])
    assert not equal(taken(loaded(data).train.batches(RECIPE, 8, 0), 9), alone)
    images, labels = alone[0]
    assert images.shape == (8, 3, 224, 224)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64


def test_starting_workers_draws_nothing_from_the_process(data: tuple[Path, Manifest]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    taken(loaded(data).train.batches(RECIPE, 7, 0), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_is_evaluated_once_and_in_order(data: tuple[Path, Manifest]) -> None:
    splits = loaded(data)
    assert (splits.train.size, splits.clean_train.size, splits.val.size, splits.test) == (TRAIN, TRAIN, 12, None)
    alone = list(splits.val.batches(5))
    assert [len(labels) for _, labels in alone] == [5, 5, 2]
    workers = loaded(data, 2).val
    assert equal(list(workers.batches(5)), alone)
    next(iter(workers.batches(5)))  # left in the middle
    assert equal(list(workers.batches(5)), alone)  # by the same workers

    folder, manifest = data
    shards = Shards(folder, manifest.val, "mend")
    mean = torch.from_numpy(np.load(folder / "mean.npy"))
    images = torch.cat([images for images, _ in alone])
    for sample in range(12):
        content, label = shards.encoded(sample)
        assert label == int(torch.cat([labels for _, labels in alone])[sample])
        picture = decode(content)[0]
        rows, columns = views.resized(picture.height, picture.width, 256)
        whole = np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR))
        top, left = (rows - 224) // 2, (columns - 224) // 2
        expected = torch.from_numpy(whole[top : top + 224, left : left + 224].copy()).permute(2, 0, 1)
        torch.testing.assert_close(images[sample], (expected - mean) / 255, atol=1.01 / 255, rtol=0)


def test_without_flips_a_recipe_flips_nothing(data: tuple[Path, Manifest]) -> None:
    train = loaded(data).train
    assert isinstance(train, ShardTrain)
    with_flips, _ = next(train.batches(RECIPE, 7, 0))
    without, _ = next(train.batches(replace(RECIPE, flip=False), 7, 0))
    samples = sampling.batch(7, 0, 8, TRAIN)[0].samples
    flips = sampling.choices(7, 0, TRAIN).flip(samples)
    assert 0 < flips.sum() < 8
    for i, flip in enumerate(flips):
        assert torch.equal(with_flips[i], without[i]) != flip


def test_padding_is_refused(data: tuple[Path, Manifest]) -> None:
    with pytest.raises(UserError, match=r"train\.pad must be 0.*got 4"):
        next(loaded(data).train.batches(replace(RECIPE, pad=4), 7, 0))


def test_damaged_shards_are_named(data: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = data
    copy = tmp_path / "x"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    first = copy / manifest.train.files[0].path
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    with pytest.raises(UserError, match=rf"{first.name}: missing or not .*dvc repro -f prepare@x"):
        load_splits(copy, manifest, CPU)
    first.write_bytes(bytes(len(content)))
    with pytest.raises(UserError, match=rf"{first.name}: no Arrow file"):
        load_splits(copy, manifest, CPU)
    middle = len(content) // 2
    first.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(UserError, match=rf"{first.name}: damaged, its SHA-256"):
        verify(copy, manifest)


def test_shards_are_plain_arrow_files(data: tuple[Path, Manifest]) -> None:
    folder, manifest = data
    with pa.ipc.open_file(folder / manifest.train.files[0].path) as reader:
        assert reader.num_record_batches > 1
        assert reader.schema == pa.schema([("image", pa.large_binary()), ("label", pa.int64()), ("name", pa.string())])
