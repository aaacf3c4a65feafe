"""Photographs for training: the views of Sec. 3.4, and batches that do not depend on who decodes them."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import arrow_storage, images, shards
from pipeline.data.images import decode, opened, pixels, reduce
from pipeline.data.loader import Splits, load_splits
from pipeline.errors import UserError
from pipeline.records import Manifest
from resnet import crops
from resnet.in_memory_data import Batch
from tests.factories.data import deep_png, encoded, image, prepared, tree
from tests.factories.ranks import Rank
from tests.factories.tiny_run import RECIPE as TINY

CPU = torch.device("cpu")
TRAIN = 35  # images
RECIPE = replace(TINY, batch_size=8, pad=0)
PICKS = [crops.Pick(0, x, 2**63 + 12345, 2**62 + 777, flip=x == 0.3) for x in (0.0, 0.3, 0.99)]  # 256, 323, 478
LARGE = [(1043, 961), (523, 701), (2101, 2057)]  # odd sizes, at which the reduced image reaches beyond the whole one


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A prepared folder of several shards with several record batches; some images are decoded at reduced scale."""
    top = tmp_path_factory.mktemp("shards")
    tree(top / "source", {"train": 11, "val": 4})
    for i, (height, width) in enumerate(((600, 1000), (1100, 900))):
        (top / f"source/train/bee/large{i}.jpg").write_bytes(image(900 + i, height, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        patch.setattr(arrow_storage, "SHARD_BYTES", 15_000)
        patch.setattr(arrow_storage, "BATCH_BYTES", 5_000)
        return top / "data" / "x", prepared(dataset="folder", source="source", validation=0.1, test=0.1)


def loaded(data: tuple[Path, Manifest], workers: int = 0, rank: int = 0, size: int = 1) -> Splits:
    return load_splits(*data, CPU, workers=workers, ranks=Rank(rank, size))


def taken(splits: Splits, number: int, first: int = 0, seed: int = 7) -> list[Batch]:
    return list(islice(splits.train.batches(RECIPE, seed, first), number))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


def test_batches_are_the_same_for_any_number_of_workers_and_after_a_restart(
    data: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    alone = taken(loaded(data), 9)  # more than two epochs
    assert equal(taken(loaded(data, 2), 9), alone)
    assert equal(taken(loaded(data), 4, 5), alone[5:])
    assert equal(taken(loaded(data, 2), 4, 5), alone[5:])
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn from the process's generator
    assert not equal(taken(loaded(data), 9, seed=8), alone)
    pictures, labels = alone[0]
    assert (pictures.shape, pictures.dtype, labels.dtype) == ((8, 3, 224, 224), torch.float32, torch.int64)
    assert pictures.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(shards, "reduce", lambda image, rows, columns: 1)
    whole = taken(loaded(data), 9)
    alike = (torch.cat([a for a, _ in alone]) == torch.cat([a for a, _ in whole])).flatten(1).all(1)
    assert 0 < alike.sum() < len(alike)  # some views were decoded at reduced scale


def test_every_image_is_evaluated_once_and_in_order(data: tuple[Path, Manifest]) -> None:
    splits = loaded(data)
    assert (splits.train.size, splits.clean_train.size, splits.val.size, splits.test) == (TRAIN, TRAIN, 12, None)
    alone = list(splits.val.batches(5))
    assert [len(labels) for _, labels in alone] == [5, 5, 2]
    workers = loaded(data, 2).val
    assert equal(list(workers.batches(5)), alone)
    next(iter(workers.batches(5)))  # left in the middle
    assert equal(list(workers.batches(5)), alone)  # by the same workers


def test_padding_is_refused(data: tuple[Path, Manifest]) -> None:
    with pytest.raises(UserError, match=r"train\.pad must be 0.*got 4"):
        next(loaded(data).train.batches(replace(RECIPE, pad=4), 7, 0))


def exact(content: bytes, pick: crops.Pick) -> NDArray[np.float64]:
    picture, _ = decode(content)
    box = crops.train_view(pick, picture.height, picture.width)
    view = picture.resize((224, 224), Image.Resampling.BILINEAR, box=box)
    return np.asarray(view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if pick.flip else view).astype(np.float64)


def divisor(content: bytes, pick: crops.Pick) -> int:
    picture = opened(content)
    return reduce(picture, *crops.train_grid(pick, picture.height, picture.width))


@pytest.mark.parametrize(("height", "width"), LARGE)
def test_reduced_views_are_not_shifted(height: int, width: int) -> None:
    """A wave is as long as 32 pixels of the view: half a pixel of difference there would change it by 6 on average."""
    down, right = np.mgrid[:height, :width] * (256 / min(height, width) * 2 * np.pi / 32)
    waves = np.stack([np.sin(right), np.sin(down), np.cos(down + right)], axis=2)
    content = encoded(Image.fromarray((128 + 100 * waves).astype(np.uint8)), "JPEG")
    rows, columns = crops.resized(height, width, 256)
    corner = crops.Pick(0, 0.0, rows - 224, columns - 224, flip=False)
    assert divisor(content, corner) > 1
    assert np.abs(shards.view(content, corner) - exact(content, corner)).mean() < 1


def test_images_are_reduced_as_far_as_they_keep_the_pixels_of_the_view() -> None:
    cases = [
        ((511, 900), (256, 400), 1), ((512, 900), (256, 450), 2), ((512, 900), (256, 451), 1),
        ((1023, 1100), (256, 275), 2), ((1024, 1100), (256, 275), 4), ((2048, 2048), (256, 256), 8),
    ]  # fmt: skip
    for (height, width), (rows, columns), expected in cases:
        picture = opened(image(1, height, width))
        assert reduce(picture, rows, columns) == expected
        assert pixels(picture)[0].size == (-(-width // expected), -(-height // expected))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_test_views_and_small_photographs_are_exact(kind: str) -> None:
    large, small = image(1, 1100, 1300, kind=kind), image(2, 400, 500, kind=kind)
    for content in (large, small):
        picture, _ = decode(content)
        box = crops.clean_view(picture.height, picture.width)
        expected = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR, box=box))
        assert np.array_equal(shards.view(content, 0), expected)
    for pick in PICKS:
        assert np.array_equal(shards.view(small, pick), exact(small, pick))
        assert np.array_equal(shards.view(large, pick), exact(large, pick)) == (kind == "PNG")


def test_sixteen_bits_become_eight_by_scale() -> None:
    assert np.asarray(decode(deep_png())[0]).tolist() == [[[255, 0, 0], [0, 255, 128]]]
    gray = Image.fromarray(np.array([[0, 257, 65535, 32896, 65335]], np.uint16))
    picture, mode = decode(encoded(gray, "PNG"))
    assert mode == "I;16"
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 1, 255, 128, 254]


def test_damaged_photographs_are_refused_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    content = image(5, 1100, 1200)
    for damaged in (content[:-3000], content[:300], b"x" + content):
        with pytest.raises(ValueError, match=r".") as whole:
            decode(damaged)
        with pytest.raises(ValueError, match=r".") as reduced:
            shards.view(damaged, PICKS[0])
        assert str(reduced.value) == str(whole.value)
        assert "\n" not in str(whole.value)
    monkeypatch.setattr(images, "MAX_PIXELS", 1000 * 1000)
    with pytest.raises(ValueError, match="1200x1100 pixels, at most 1000000 are decoded"):
        shards.view(content[:1000], PICKS[0])  # before any pixel is decoded, though at reduced scale there are few


@pytest.mark.parametrize("size", [2, 4])
def test_the_batches_of_the_ranks_are_the_batch(size: int, data: tuple[Path, Manifest]) -> None:
    whole = taken(loaded(data), 3, 3)  # over the end of an epoch
    ranks = [taken(loaded(data, 0, rank, size), 3, 3) for rank in range(size)]
    assert 5 * RECIPE.batch_size > TRAIN
    for (expected, labels), *own in zip(whole, *ranks, strict=True):
        assert [len(part) for _, part in own] == [RECIPE.batch_size // size] * size
        assert torch.equal(torch.cat([part for part, _ in own]), expected)
        assert torch.equal(torch.cat([part for _, part in own]), labels)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_each_image_is_evaluated_on_one_rank(size: int, data: tuple[Path, Manifest]) -> None:
    whole = loaded(data).val
    expected, labels = next(whole.batches(whole.size))
    splits = [loaded(data, 0, rank, size).val for rank in range(size)]
    batches = [batch for split in splits for batch in split.batches(2)]
    assert sum(split.size for split in splits) == whole.size
    assert torch.equal(torch.cat([part for part, _ in batches]), expected)
    assert torch.equal(torch.cat([part for _, part in batches]), labels)
