"""Training views from JPEG decoded at 1/2, 1/4 or 1/8 of its scale; test views always from the whole image."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.sides.photographs import jpeg, scene
from pipeline.config import params
from pipeline.datasets import images
from pipeline.datasets.images import decode, opened, pixels, reduce
from pipeline.loading import shards
from pipeline.loading.splits import Splits, load_splits
from pipeline.prepare import prepare
from pipeline.store.records import Manifest
from resnet import views
from resnet.data import Batch
from resnet.recipe import Recipe
from tests import makers

RECIPE = Recipe(
    batch_size=4, iterations=10, lr=0.1, lr_drops=(), momentum=0.9, weight_decay=0.0, pad=0, flip=True,
    record_every=1, validate_every=1,
)  # fmt: skip
PICKS = [views.Pick(0, scale, 2**63 + 12345, 2**62 + 777, flip=False) for scale in (0.0, 0.3, 0.99)]  # 256, 323, 478
LARGE = [(1043, 961), (523, 701), (2101, 2057)]  # odd sizes, at which the reduced image reaches beyond the whole one


def exact(content: bytes, pick: views.Pick) -> NDArray[np.float64]:
    picture, _ = decode(content)
    box = views.train_view(pick, picture.height, picture.width)
    view = picture.resize((224, 224), Image.Resampling.BILINEAR, box=box)
    return np.asarray(view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if pick.flip else view).astype(np.float64)


def divisor(content: bytes, pick: views.Pick) -> int:
    image = opened(content)
    return reduce(image, *views.train_grid(pick, image.height, image.width))


def test_reduced_views_are_close_to_the_exact_ones() -> None:
    nature = scene(0, side=max(max(size) for size in LARGE))
    divisors = set()
    for height, width in LARGE:
        content = jpeg(nature[:height, :width])
        for pick in PICKS:
            difference = shards.view(content, pick) - exact(content, pick)
            divisors.add(divisor(content, pick))
            assert difference.any() == (divisor(content, pick) > 1)
            assert np.abs(difference).mean() < 3
            assert abs(difference.mean()) < 0.3
    assert divisors == {1, 2, 4, 8}


@pytest.mark.parametrize(("height", "width"), LARGE)
def test_reduced_views_are_not_shifted(height: int, width: int) -> None:
    """A wave is as long as 32 pixels of the view: half a pixel of difference there would change it by 6 on average."""
    down, right = np.mgrid[:height, :width] * (256 / min(height, width) * 2 * np.pi / 32)
    waves = np.stack([np.sin(right), np.sin(down), np.cos(down + right)], axis=2)
    content = jpeg((128 + 100 * waves).astype(np.uint8))
    rows, columns = views.resized(height, width, 256)
    corner = views.Pick(0, 0.0, rows - 224, columns - 224, flip=False)
    assert divisor(content, corner) > 1
    assert np.abs(shards.view(content, corner) - exact(content, corner)).mean() < 1


def test_reduced_where_it_has_as_many_pixels_as_the_view_needs() -> None:
    cases = [
        ((511, 900), (256, 400), 1), ((512, 900), (256, 450), 2), ((512, 900), (256, 451), 1),
        ((1023, 1100), (256, 275), 2), ((1024, 1100), (256, 275), 4), ((2048, 2048), (256, 256), 8),
        ((9000, 9000), (256, 256), 8), ((40, 50), (256, 320), 1),
    ]  # fmt: skip
    for (height, width), (rows, columns), expected in cases:
        image = opened(makers.image(1, height, width))
        assert reduce(image, rows, columns) == expected
        decoded, _ = pixels(image)
        assert decoded.size == (-(-width // expected), -(-height // expected))
    png = opened(makers.image(1, 512, 900, kind="PNG"))
    assert reduce(png, 256, 450) == 1
    assert pixels(png)[0].size == (900, 512)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_test_views_and_small_photographs_are_exact(kind: str) -> None:
    large, small = makers.image(1, 1100, 1300, kind=kind), makers.image(2, 400, 500, kind=kind)
    for content in (large, small):
        picture, _ = decode(content)
        box = views.clean_view(picture.height, picture.width)
        expected = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR, box=box))
        assert np.array_equal(shards.view(content, 0), expected)
    for pick in PICKS:
        assert np.array_equal(shards.view(small, pick), exact(small, pick))
        assert np.array_equal(shards.view(large, pick), exact(large, pick)) == (kind == "PNG")


@pytest.mark.parametrize("side", [300, 1200])
def test_a_mirrored_view_is_the_mirror_image(side: int) -> None:
    content = makers.image(3, side, side)
    plain, mirrored = (shards.view(content, views.Pick(0, 0.2, 5, 6, flip=flip)) for flip in (False, True))
    assert np.array_equal(plain[:, ::-1], mirrored)
    assert not np.array_equal(plain, mirrored)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_are_converted_at_reduced_scale_too(mode: str) -> None:
    content = makers.image(4, 1100, 1200, mode=mode)
    assert divisor(content, PICKS[0]) == 4
    assert shards.view(content, PICKS[0]).shape == (224, 224, 3)
    assert np.abs(shards.view(content, PICKS[0]) - exact(content, PICKS[0])).mean() < 2


def test_damaged_photographs_are_refused_in_the_same_words() -> None:
    content = makers.image(5, 1100, 1200)
    assert divisor(content, PICKS[0]) == 4
    for damaged in (content[:-3000], content[:-2], content[:300], content[:10], content[:2], b"x" + content):
        with pytest.raises(ValueError, match=r".") as whole:
            decode(damaged)
        with pytest.raises(ValueError, match=r".") as reduced:
            shards.view(damaged, PICKS[0])
        assert str(reduced.value) == str(whole.value)
        assert len(str(whole.value).splitlines()) == 1


def test_too_many_pixels_are_refused_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000 * 1000)
    content = makers.image(6, 1000, 1001)
    with pytest.raises(ValueError, match="1001x1000 pixels, at most 1000000 are decoded"):
        opened(content[:1000])  # there are no pixels
    with pytest.raises(ValueError, match="1001x1000 pixels"):
        shards.view(content, PICKS[0])  # though at reduced scale there would be few


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Photographs of which some are decoded at half or quarter scale and some are not."""
    top = tmp_path_factory.mktemp("reduced")
    for split, each in (("train", 3), ("val", 1)):
        for name in ("bee", "cat"):
            folder = top / "source" / split / name
            folder.mkdir(parents=True)
            for i in range(each):
                seed = len(list((top / "source").rglob("*.jpg")))
                (folder / f"{i}.jpg").write_bytes(makers.image(seed, 300 + 250 * i, 1100 - 100 * i))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        source: dict[str, object] = {"dataset": "folder", "source": "source", "validation": 0.1, "test": 0.1}
        makers.params(Path("params.yaml"), "x", source)
        return top / "data" / "x", prepare(params.load("x"))


def test_batches_are_the_same_for_any_number_of_workers_and_after_a_restart(
    data: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def splits(workers: int) -> Splits:
        return load_splits(*data, torch.device("cpu"), workers=workers)

    def taken(workers: int, start: int, number: int) -> list[Batch]:
        return list(islice(splits(workers).train.batches(RECIPE, 7, start), number))

    alone = taken(0, 0, 5)
    for workers in (0, 1, 2):
        for (a, b), (c, d) in zip(taken(workers, 2, 3), alone[2:], strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)
        for (a, b), (c, d) in zip(splits(workers).val.batches(2), splits(0).val.batches(2), strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)

    monkeypatch.setattr(shards, "reduce", lambda image, rows, columns: 1)
    whole = taken(0, 0, 5)
    equal = (torch.cat([a for a, _ in alone]) == torch.cat([a for a, _ in whole])).flatten(1).all(1)
    assert 0 < equal.sum() < len(equal)  # some views were decoded at reduced scale
