"""What a network sees of a photograph: the crops of Sec. 3.4, torchvision's to the bit, Keras's by its formulae."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.models import ResNet50_Weights

from pipeline.data.photographs import view
from resnet import crops, sampling
from resnet.architectures import ARCHITECTURES
from resnet.preprocessing import PREPROCESSINGS, Interpolation, Preprocessing, usual
from tests.factories import data as makers

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


def test_the_papers_numbers_are_those_of_our_own_test_view() -> None:
    mean = torch.from_numpy(RNG.uniform(90, 140, (3, crops.SIZE, crops.SIZE)).astype(np.float32))
    for size in SIZES:
        image = noise(*size)
        box = crops.clean_view(image.height, image.width)
        pixels = np.asarray(image.resize((crops.SIZE, crops.SIZE), Image.Resampling.BILINEAR, box=box))
        expected = (torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() - mean) / 255
        assert torch.equal(seen(image, PREPROCESSINGS["paper"], mean), expected)


def test_keras_by_hand() -> None:
    pixels = torch.tensor([[[[10]], [[128]], [[255]]]], dtype=torch.uint8)  # red, green, blue
    caffe = PREPROCESSINGS["keras-caffe"].numbers(pixels).flatten()
    assert caffe.tolist() == pytest.approx([255 - 103.939, 128 - 116.779, 10 - 123.68], rel=1e-6)
    tf = PREPROCESSINGS["keras-tf"].numbers(pixels).flatten()
    assert tf.tolist() == pytest.approx([10 / 127.5 - 1, 128 / 127.5 - 1, 1.0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["caffe", "tf"])
def test_keras_preprocess_input_to_the_bit(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    keras = pytest.importorskip("keras.applications.imagenet_utils", reason="pip install '.[keras]'")
    images = batch(3, 40)
    theirs = keras.preprocess_input(images.permute(0, 2, 3, 1).numpy(), "channels_last", mode)
    assert theirs.dtype == np.float32
    np.testing.assert_array_equal(PREPROCESSINGS[f"keras-{mode}"].numbers(images).permute(0, 2, 3, 1).numpy(), theirs)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"crop": 257}, "crop must be at most resize, got a crop of 257 and a resize of 256"),
        ({"crop": -1}, "crop must be from 1 to 4096 pixels, got -1"),
        ({"resize": 4097}, "resize must be from 1 to 4096 pixels, got 4097"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(PREPROCESSINGS["torchvision"], **sizes)  # type: ignore[arg-type]


def test_a_missing_mean_and_an_image_that_grows_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match="per-pixel mean"):
        PREPROCESSINGS["paper"].numbers(batch())
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


# Crops and colours of Sec. 3.4


def test_a_box_is_the_crop_of_the_resized_image() -> None:
    """Also what torch's antialiased bilinear interpolation gives, up to Pillow's rounding to bytes."""
    picture = Image.open(io.BytesIO(makers.image(5, 300, 411, kind="PNG")))
    pick = crops.Pick(0, 0.5, 2**63 + 11, 2**62 + 3, flip=False)
    box = crops.train_view(pick, 300, 411)
    ours = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR, box=box)).astype(np.float64)
    rows, columns = crops.resized(300, 411, 368)  # 256 + floor(0.5 * 225)
    assert (rows, columns) == (368, 504)
    whole = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].float()
    resized = F.interpolate(whole, size=(rows, columns), mode="bilinear", antialias=True)[0]
    top, left = pick.top % (368 - 223), pick.left % (504 - 223)
    theirs = resized[:, top : top + 224, left : left + 224].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 1.01


def test_views_by_hand() -> None:
    assert crops.resized(100, 200, 256) == (256, 512)
    assert crops.clean_view(512, 256) == (16.0, 144.0, 240.0, 368.0)
    smallest = crops.Pick(0, 0.0, 32, 33, flip=False)  # 33 places each way: the last one, the first one
    assert crops.train_view(smallest, 256, 256) == (0.0, 32.0, 224.0, 256.0)
    largest = crops.Pick(0, 1 - 2**-53, 256, 257, flip=False)
    assert crops.train_view(largest, 480, 480) == (0.0, 256.0, 224.0, 480.0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (4999, 3), (333, 500), (224, 224)])
def test_boxes_stay_inside_the_image(height: int, width: int) -> None:
    for i in range(200):
        pick = crops.Pick(0, i / 200, i * 0x9E3779B97F4A7C15 % 2**64, i * 0xBF58476D1CE4E5B9 % 2**64, flip=False)
        left, top, right, bottom = crops.train_view(pick, height, width)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_colours_are_independent_normals_of_a_tenth() -> None:
    strengths = crops.colours(sampling.choices(1, 0, 50_000), np.arange(50_000)).double()
    assert strengths.shape == (50_000, 3)
    assert torch.isfinite(strengths).all()
    torch.testing.assert_close(torch.cov(strengths.T), 0.01 * torch.eye(3).double(), atol=3e-4, rtol=0)
    torch.testing.assert_close(strengths.mean(0), torch.zeros(3).double(), atol=2e-3, rtol=0)
    kurtosis = (strengths**4).mean(0) / (strengths**2).mean(0) ** 2
    torch.testing.assert_close(kurtosis, torch.full((3,), 3.0).double(), atol=0.15, rtol=0)
    two = crops.colours(sampling.choices(1, 0, 50_000), np.array([3, 7]))
    assert torch.equal(two.double(), strengths[[3, 7]])  # by sample, whatever else is in the batch


def test_colour_by_hand() -> None:
    vectors = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # columns: green, blue, red
    colour = torch.stack([vectors, torch.diag(torch.tensor([0.5, 0.25, 0.125]))])
    strengths = torch.tensor([[0.1, 0.3, 0.7], [0.0, 0.0, 0.0]])
    shifted = crops.coloured(torch.zeros(2, 3, 1, 2), strengths, colour)
    torch.testing.assert_close(shifted[0, :, 0, 1], torch.tensor([0.7 * 0.125, 0.1 * 0.5, 0.3 * 0.25]))
    assert not shifted[1].any()
