"""What a network sees of a photograph (Sec. 3.4): boxes, and colours as numbers."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from resnet import sampling, views
from tests import makers


def test_a_box_is_the_crop_of_the_resized_image() -> None:
    """Also what torch's antialiased bilinear interpolation gives, up to Pillow's rounding to bytes."""
    picture = Image.open(io.BytesIO(makers.image(5, 300, 411, kind="PNG")))
    pick = views.Pick(0, 0.5, 2**63 + 11, 2**62 + 3, flip=False)
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
    smallest = views.Pick(0, 0.0, 32, 33, flip=False)  # 33 places each way: the last one, the first one
    assert views.train_view(smallest, 256, 256) == (0.0, 32.0, 224.0, 256.0)
    largest = views.Pick(0, 1 - 2**-53, 256, 257, flip=False)
    assert views.train_view(largest, 480, 480) == (0.0, 256.0, 224.0, 480.0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (4999, 3), (333, 500), (224, 224)])
def test_boxes_stay_inside_the_image(height: int, width: int) -> None:
    image = Image.new("RGB", (width, height))
    for i in range(200):
        pick = views.Pick(0, i / 200, i * 0x9E3779B97F4A7C15 % 2**64, i * 0xBF58476D1CE4E5B9 % 2**64, flip=False)
        left, top, right, bottom = views.train_view(pick, height, width)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        if i % 40 == 0:
            image.resize((224, 224), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def test_scales_places_and_flips_are_uniform() -> None:
    choices = sampling.choices(1, 0, 20_000)
    samples = np.arange(20_000)
    picks = views.picks(choices, samples, flip=True)
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


def test_mean_and_colour_by_hand() -> None:
    images = torch.zeros(2, 3, 1, 2, dtype=torch.uint8)
    images[0, ..., 1] = images[1, ..., 0] = 255
    mean = torch.tensor([51.0, 0.0]).expand(3, 1, 2)
    normal = views.normalised(images, mean)
    torch.testing.assert_close(normal[:, 1, 0], torch.tensor([[-0.2, 1.0], [0.8, 0.0]]))
    vectors = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # columns: green, blue, red
    colour = torch.stack([vectors, torch.diag(torch.tensor([0.5, 0.25, 0.125]))])
    strengths = torch.tensor([[0.1, 0.3, 0.7], [0.0, 0.0, 0.0]])
    shifted = views.coloured(torch.zeros(2, 3, 1, 2), strengths, colour)
    torch.testing.assert_close(shifted[0, :, 0, 1], torch.tensor([0.7 * 0.125, 0.1 * 0.5, 0.3 * 0.25]))
    assert not shifted[1].any()


@pytest.mark.parametrize("permuted", [False, True])
def test_numbers_do_not_depend_on_where_they_stand_in_memory(permuted: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(256, (3, 5, 7, 3), generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    mean, strengths = 255 * torch.rand(3, 5, 7, generator=generator), torch.randn(3, 3, generator=generator)
    colour = torch.randn(2, 3, 3, generator=generator)
    seen = images if permuted else images.contiguous()
    normal = views.normalised(seen, mean)
    assert normal.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(normal, (images.float() - mean) / 255)
    shift = (strengths[:, None, :] * (colour[0] * colour[1].diagonal())).sum(2)
    expected = normal + shift[:, :, None, None]
    assert torch.equal(views.coloured(normal, strengths, colour), expected)
    assert torch.equal(seen, images)  # as they were


def test_picks_are_mirrored_where_the_recipe_asks_for_it() -> None:
    choices, samples = sampling.choices(3, 1, 40), np.arange(40)
    asked, not_asked = views.picks(choices, samples, flip=True), views.picks(choices, samples, flip=False)
    assert [pick.flip for pick in asked] == choices.flip(samples).tolist()
    assert not any(pick.flip for pick in not_asked)
    assert [replace(pick, flip=False) for pick in asked] == not_asked
