"""Preprocessing: torchvision's to the bit, Keras's and our own by their formulae."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.models import ResNet50_Weights
from torchvision.transforms.functional import _compute_resized_output_size

from pipeline.loading.preprocessed import view
from resnet import views
from resnet.architectures import ARCHITECTURES
from resnet.preprocessing import PREPROCESSINGS, Interpolation, Preprocessing, usual

# tall, wide, square, smaller than the crop, a pixel beside the resized size, and far from square
SIZES = [(375, 500), (500, 333), (480, 480), (17, 23), (1, 1), (255, 257), (232, 256), (225, 224), (2, 301), (999, 7)]
PRESETS = {
    "torchvision": ResNet50_Weights.IMAGENET1K_V1.transforms(),
    "torchvision-v2": ResNet50_Weights.IMAGENET1K_V2.transforms(),
}
RNG = np.random.Generator(np.random.PCG64(3))


def noise(height: int, width: int) -> Image.Image:
    """Every pixel at random: a box shifted by a fraction of a pixel changes the result."""
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def seen(image: Image.Image, how: Preprocessing, mean: Tensor | None = None) -> Tensor:
    return how.numbers(torch.from_numpy(view(image, how).copy()).permute(2, 0, 1)[None], mean)[0]


def batch(n: int = 2, side: int = 5) -> Tensor:
    return torch.from_numpy(RNG.integers(0, 256, (n, 3, side, side), dtype=np.uint8))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PRESETS)
def test_torchvision_presets_to_the_bit(name: str, size: tuple[int, int]) -> None:
    image = noise(*size)
    assert torch.equal(seen(image, PREPROCESSINGS[name]), PRESETS[name](image))


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (257, 100), (64, 64), (33, 32), (7, 1), (300, 299)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_torchvision_transforms_to_the_bit(interpolation: Interpolation, resize: int, crop: int) -> None:
    how = replace(PREPROCESSINGS["torchvision"], resize=resize, crop=crop, interpolation=interpolation)
    mode = transforms.InterpolationMode(interpolation)
    normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    theirs = [transforms.Resize(resize, mode), transforms.CenterCrop(crop), transforms.ToTensor(), normalize]
    for size in ((375, 500), (301, 97), (41, 58), (13, 200)):
        image = noise(*size)
        assert torch.equal(seen(image, how), transforms.Compose(theirs)(image)), size


@settings(max_examples=300, deadline=None, derandomize=True)
@given(height=st.integers(1, 20_000), width=st.integers(1, 20_000), resize=st.integers(1, 1000))
def test_resized_as_torchvision_does(height: int, width: int, resize: int) -> None:
    how = Preprocessing(name="x", pixels="tf", resize=resize, crop=1)
    assert how.resized(height, width) == tuple(_compute_resized_output_size((height, width), [resize]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(height=st.integers(1, 20_000), width=st.integers(1, 20_000))
def test_the_papers_box_is_that_of_our_own_test_view(height: int, width: int) -> None:
    assert PREPROCESSINGS["paper"].box(height, width) == views.clean_view(height, width)


def test_the_papers_numbers_are_those_of_our_own_test_view() -> None:
    mean = torch.from_numpy(RNG.uniform(90, 140, (3, views.SIZE, views.SIZE)).astype(np.float32))
    for size in SIZES:
        image = noise(*size)
        box = views.clean_view(image.height, image.width)
        pixels = np.asarray(image.resize((views.SIZE, views.SIZE), Image.Resampling.BILINEAR, box=box))
        expected = (torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() - mean) / 255
        assert torch.equal(seen(image, PREPROCESSINGS["paper"], mean), expected)


def test_the_boxes_of_both_geometries_agree_where_nothing_is_rounded() -> None:
    paper = PREPROCESSINGS["paper"]
    assert replace(paper, geometry="whole").box(512, 1024) == paper.box(512, 1024) == (288.0, 32.0, 736.0, 480.0)


def test_keras_by_hand() -> None:
    pixels = torch.tensor([[[[10]], [[128]], [[255]]]], dtype=torch.uint8)  # red, green, blue
    caffe = PREPROCESSINGS["keras-caffe"].numbers(pixels).flatten()
    assert caffe.tolist() == pytest.approx([255 - 103.939, 128 - 116.779, 10 - 123.68], rel=1e-6)
    tf = PREPROCESSINGS["keras-tf"].numbers(pixels).flatten()
    assert tf.tolist() == pytest.approx([10 / 127.5 - 1, 128 / 127.5 - 1, 1.0], abs=1e-6)


KERAS = """
import sys
import numpy as np
from keras.applications.imagenet_utils import preprocess_input
images = np.load(sys.argv[1])
np.savez(sys.argv[2], **{mode: preprocess_input(images.copy(), "channels_last", mode) for mode in ("caffe", "tf")})
"""


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="pip install '.[keras]'")
def test_keras_preprocess_input_to_the_bit(tmp_path: Path) -> None:
    images = batch(3, 40)
    np.save(tmp_path / "images.npy", images.permute(0, 2, 3, 1).numpy())
    words = [sys.executable, "-c", KERAS, str(tmp_path / "images.npy"), str(tmp_path / "theirs.npz")]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path)}
    subprocess.run(words, env=environment, check=True, timeout=120)
    theirs: dict[str, NDArray[np.float32]] = dict(np.load(tmp_path / "theirs.npz"))
    for mode, expected in theirs.items():
        assert expected.dtype == np.float32
        ours = PREPROCESSINGS[f"keras-{mode}"].numbers(images).permute(0, 2, 3, 1)
        np.testing.assert_array_equal(ours.numpy(), expected)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_numbers_are_channels_last_and_leave_the_pixels_alone(name: str) -> None:
    images = batch()
    before = images.clone()
    numbers = PREPROCESSINGS[name].numbers(images, torch.zeros(3, 5, 5))
    assert (numbers.dtype, numbers.shape) == (torch.float32, images.shape)
    assert numbers.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_protocol() -> None:
    how = replace(PREPROCESSINGS["torchvision-v2"], crop=200)
    assert how.protocol == "1-crop 200, resize 232, torchvision-v2"


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"crop": 257}, "crop must be at most resize, got a crop of 257 and a resize of 256"),
        ({"resize": 0}, "resize must be from 1 to 4096 pixels, got 0"),
        ({"crop": -1}, "crop must be from 1 to 4096 pixels, got -1"),
        ({"resize": 4097}, "resize must be from 1 to 4096"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(PREPROCESSINGS["torchvision"], **sizes)  # type: ignore[arg-type]


def test_the_papers_numbers_need_the_mean() -> None:
    with pytest.raises(ValueError, match="per-pixel mean"):
        PREPROCESSINGS["paper"].numbers(batch())


def test_an_image_that_grows_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="512000x256 pixels when resized"):
        view(noise(1, 2000), PREPROCESSINGS["torchvision"])
    assert view(noise(1, 2000), PREPROCESSINGS["paper"]).shape == (224, 224, 3)  # resamples the crop alone


def test_the_usual_preprocessing_follows_the_network() -> None:
    found = {name: usual(network) for name, network in ARCHITECTURES.items()}
    keras = {name: kind for name, kind in found.items() if kind != "torchvision"}
    assert keras == {f"keras-resnet{depth}": "keras-caffe" for depth in (50, 101, 152)} | {
        f"keras-resnet{depth}v2": "keras-tf" for depth in (50, 101, 152)
    }
    assert usual(replace(ARCHITECTURES["resnet-50"], stride_on="3x3")) == "torchvision"
