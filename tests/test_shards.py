"""Photographs for training: the views of Sec. 3.4, and batches that do not depend on who decodes them."""

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline import config
from pipeline.datasets import pack
from pipeline.datasets.images import decode
from pipeline.errors import UserError
from pipeline.loading import Splits, load, verify
from pipeline.prepare import prepare
from pipeline.records import Manifest
from pipeline.shards import Shards, ShardTrain
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
        return top / "data" / "x", prepare(config.load("x"))


def loaded(data: tuple[Path, Manifest], workers: int = 0) -> Splits:
    return load(*data, CPU, workers=workers)


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


def test_a_box_is_the_crop_of_the_resized_image() -> None:
    """Also what torch's antialiased bilinear interpolation gives, up to Pillow's rounding to bytes."""
    picture = Image.open(io.BytesIO(makers.image(5, 300, 411, kind="PNG")))
    pick = views.Pick(0, 0.5, 2**63 + 11, 2**62 + 3)
    box = views.train_view(pick, 300, 411)
    ours = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR, box=box)).astype(np.float64)
    rows, columns = views.resized(300, 411, 368)  # 256 + floor(0.5 * 225)
    assert (rows, columns) == (368, 504)
    whole = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].float()
    resized = F.interpolate(whole, size=(rows, columns), mode="bilinear", antialias=True)[0]
    top, left = pick.top % (368 - 223), pick.left % (504 - 223)
    theirs = resized[:, top : top + 224, left : left + 224].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 1.01


def test_views_by_hand() -> None:
    assert views.resized(100, 200, 256) == (256, 512)
    assert views.resized(3, 2, 256) == (384, 256)
    assert views.clean_view(256, 256) == (16.0, 16.0, 240.0, 240.0)
    assert views.clean_view(512, 256) == (16.0, 144.0, 240.0, 368.0)
    assert views.clean_view(128, 128) == (8.0, 8.0, 120.0, 120.0)
    smallest = views.Pick(0, 0.0, 32, 33)  # 33 places each way: the last one, the first one
    assert views.train_view(smallest, 256, 256) == (0.0, 32.0, 224.0, 256.0)
    largest = views.Pick(0, 1 - 2**-53, 256, 257)
    assert views.train_view(largest, 480, 480) == (0.0, 256.0, 224.0, 480.0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (4999, 3), (333, 500), (224, 224)])
def test_boxes_stay_inside_the_image(height: int, width: int) -> None:
    image = Image.new("RGB", (width, height))
    for i in range(200):
        pick = views.Pick(0, i / 200, i * 0x9E3779B97F4A7C15 % 2**64, i * 0xBF58476D1CE4E5B9 % 2**64)
        left, top, right, bottom = views.train_view(pick, height, width)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        if i % 40 == 0:
            image.resize((224, 224), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def test_scales_places_and_flips_are_uniform() -> None:
    choices = sampling.choices(1, 0, 20_000)
    samples = np.arange(20_000)
    picks = views.picks(choices, samples)
    sides = [256 + int(pick.scale * 225) for pick in picks]
    assert (min(sides), max(sides)) == (256, 480)
    assert abs(np.mean(sides) - 368) < 3
    assert len({pick.top % 33 for pick in picks}) == 33
    assert abs(choices.flip(samples).mean() - 0.5) < 0.02


def test_colours_are_independent_normals_of_a_tenth() -> None:
    strengths = views.colours(sampling.choices(1, 0, 50_000), np.arange(50_000)).double()
    assert strengths.shape == (50_000, 3)
    assert torch.isfinite(strengths).all()
    torch.testing.assert_close(torch.cov(strengths.T), 0.01 * torch.eye(3).double(), atol=3e-4, rtol=0)
    torch.testing.assert_close(strengths.mean(0), torch.zeros(3).double(), atol=2e-3, rtol=0)
    kurtosis = (strengths**4).mean(0) / (strengths**2).mean(0) ** 2
    torch.testing.assert_close(kurtosis, torch.full((3,), 3.0).double(), atol=0.15, rtol=0)
    two = views.colours(sampling.choices(1, 0, 50_000), np.array([3, 7]))
    assert torch.equal(two.double(), strengths[[3, 7]])  # by sample, whatever else is in the batch


def test_flip_mean_and_colour_by_hand() -> None:
    images = torch.zeros(2, 3, 1, 2, dtype=torch.uint8)
    images[..., 0] = 255
    flipped = views.flipped(images, torch.tensor([True, False]))
    assert flipped[:, 0, 0].tolist() == [[0, 255], [255, 0]]
    mean = torch.tensor([51.0, 0.0]).expand(3, 1, 2)
    normal = views.normalised(flipped, mean)
    torch.testing.assert_close(normal[:, 1, 0], torch.tensor([[-0.2, 1.0], [0.8, 0.0]]))
    vectors = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # columns: green, blue, red
    colour = torch.stack([vectors, torch.diag(torch.tensor([0.5, 0.25, 0.125]))])
    strengths = torch.tensor([[0.1, 0.3, 0.7], [0.0, 0.0, 0.0]])
    shifted = views.coloured(torch.zeros(2, 3, 1, 2), strengths, colour)
    torch.testing.assert_close(shifted[0, :, 0, 1], torch.tensor([0.7 * 0.125, 0.1 * 0.5, 0.3 * 0.25]))
    assert not shifted[1].any()


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
        load(copy, manifest, CPU)
    first.write_bytes(bytes(len(content)))
    with pytest.raises(UserError, match=rf"{first.name}: no Arrow file"):
        load(copy, manifest, CPU)
    middle = len(content) // 2
    first.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(UserError, match=rf"{first.name}: damaged, its SHA-256"):
        verify(copy, manifest)


def test_shards_are_plain_arrow_files(data: tuple[Path, Manifest]) -> None:
    folder, manifest = data
    with pa.ipc.open_file(folder / manifest.train.files[0].path) as reader:
        assert reader.num_record_batches > 1
        assert reader.schema == pa.schema([("image", pa.large_binary()), ("label", pa.int64()), ("name", pa.string())])
