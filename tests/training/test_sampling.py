"""Which images an iteration sees and how they are cropped and flipped: against slow, separate arithmetic."""

from itertools import islice

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnet import sampling
from resnet.data import Augmented, Clean, Images
from resnet.recipe import Recipe


def recipe(batch_size: int, pad: int = 2, *, flip: bool = True) -> Recipe:
    return Recipe(
        batch_size=batch_size,
        iterations=100,
        lr=0.1,
        lr_drops=(),
        momentum=0.9,
        weight_decay=0.0,
        pad=pad,
        flip=flip,
        record_every=1,
        validate_every=1,
    )


def split(size: int = 23, channels: int = 3, height: int = 5, width: int = 6) -> Images:
    generator = torch.Generator().manual_seed(11)
    images = torch.randint(0, 256, (size, channels, height, width), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(size), images.float().mean(dim=0))


@pytest.mark.parametrize(("batch_size", "size"), [(4, 10), (10, 10), (7, 23), (23, 7), (50, 8), (1, 3), (16, 1)])
def test_each_sample_once_an_epoch(batch_size: int, size: int) -> None:
    epochs: dict[int, list[int]] = {}
    straddled = 0
    for iteration in range(4 * size):  # 4 * batch_size whole epochs
        draws = sampling.batch(9, iteration, batch_size, size)
        assert sum(len(draw.samples) for draw in draws) == batch_size
        straddled += len(draws) > 1
        for draw in draws:
            epochs.setdefault(draw.epoch, []).extend(draw.samples.tolist())
    assert list(epochs) == list(range(4 * batch_size))  # in order, none left out
    assert all(sorted(samples) == list(range(size)) for samples in epochs.values())
    assert (straddled > 0) == (size % batch_size != 0)


def test_epochs_and_seeds_have_their_own_order() -> None:
    orders = [tuple(sampling.choices(seed, epoch, 50).order.tolist()) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16


def test_choices_depend_on_seed_and_epoch_alone() -> None:
    first = sampling.choices(3, 8, 40)
    order, bits = first.order.copy(), first.bits.copy()
    sampling.choices.cache_clear()
    np.random.default_rng(1).random(10)
    for epoch in range(5):
        sampling.choices(3, epoch, 40)
    again = sampling.choices(3, 8, 40)
    assert again is not first
    assert np.array_equal(again.order, order)
    assert np.array_equal(again.bits, bits)


def test_shared_choices_cannot_be_changed() -> None:
    choices = sampling.choices(3, 8, 40)
    for array in (choices.order, choices.bits):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_golden_values() -> None:
    """Written down once: results of other versions stay comparable only while these bits stay."""
    choices, samples = sampling.choices(7, 3, 10), np.arange(10)
    assert choices.bits[0, 0] == 0x7B6CC7B1862CC5F2
    assert choices.order.tolist() == [2, 5, 9, 7, 3, 0, 6, 8, 4, 1]
    assert choices.offset(0, samples, 9).tolist() == [7, 4, 4, 4, 6, 3, 5, 4, 0, 7]
    assert choices.offset(1, samples, 9).tolist() == [6, 5, 1, 8, 1, 6, 7, 3, 7, 6]
    assert choices.flip(samples).tolist() == [bit == 1 for bit in (1, 1, 0, 1, 0, 0, 1, 0, 0, 1)]
    assert choices.unit(samples[:3]).tolist() == [0.5981835815158014, 0.6181094627715211, 0.3426219139719646]


MASK, ROUNDS = 2**64 - 1, 10


def philox(seed: int, epoch: int, words: int) -> list[int]:
    """Philox4x64-10 as published (Salmon et al. 2011), one counter at a time from 1."""
    stream: list[int] = []
    counter = 0
    while len(stream) < words:
        counter += 1
        a, b, c, d = counter, 0, 0, 0
        k0, k1 = seed, epoch
        for _ in range(ROUNDS):
            first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
            a, b, c, d = (second >> 64) ^ b ^ k0, second & MASK, (first >> 64) ^ d ^ k1, first & MASK
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
        stream += [a, b, c, d]
    return stream[:words]


def test_the_bits_are_philox() -> None:
    assert sampling.choices(7, 3, 10).bits[:5].ravel().tolist() == philox(7, 3, 50)


def test_all_offsets_occur_equally_often() -> None:
    """0 to 2 * pad, both ends included: nine positions for pad 4 (within 5 standard deviations)."""
    size = 81_000
    choices, samples = sampling.choices(1, 0, size), np.arange(size)
    top, left = (choices.offset(axis, samples, 9) for axis in (0, 1))
    both = np.bincount(9 * top + left, minlength=81)
    assert len(both) == 81
    assert np.abs(both - 1000).max() < 5 * 1000**0.5
    flips = int(choices.flip(samples).sum())
    assert abs(flips - size / 2) < 5 * (size / 4) ** 0.5
    unit = choices.unit(samples)
    assert 0 <= unit.min() < 0.001
    assert 0.999 < unit.max() < 1


def slow_view(data: Images, seed: int, epoch: int, sample: int, pad: int, *, flip: bool) -> NDArray[np.float32]:
    """One augmented image, pixel by pixel."""
    size = len(data.images)
    bits = philox(seed, epoch, 5 * size)
    top, left = bits[size + sample] % (2 * pad + 1), bits[2 * size + sample] % (2 * pad + 1)
    mirrored = flip and bits[3 * size + sample] >= 2**63
    image, mean = data.images[sample].numpy(), data.mean.numpy()
    channels, height, width = image.shape
    view = np.zeros(image.shape, dtype=np.float32)
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                y, x = row + top - pad, (width - 1 - column if mirrored else column) + left - pad
                if 0 <= y < height and 0 <= x < width:
                    pixel = np.float32(image[channel, y, x]) - mean[channel, y, x]
                    view[channel, row, column] = pixel / np.float32(255)
    return view


@pytest.mark.parametrize(("pad", "flip"), [(0, False), (0, True), (2, False), (2, True), (7, True)])
def test_crop_and_flip_to_the_bit(pad: int, flip: bool) -> None:
    data = split()
    batch_size, seed = 9, 5
    batches = Augmented(data).batches(recipe(batch_size, pad, flip=flip), seed, 0)
    position = 0
    for images, labels in islice(batches, 6):  # 54 images: the third and the sixth batch end an epoch
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        for image, label in zip(images, labels, strict=True):
            epoch, index = divmod(position, data.size)
            sample = int(sampling.choices(seed, epoch, data.size).order[index])
            assert int(label) == sample
            assert np.array_equal(image.numpy(), slow_view(data, seed, epoch, sample, pad, flip=flip))
            position += 1
    assert position == 54


def test_padding_is_the_mean_pixel() -> None:
    """Zero after the mean is subtracted, so the border of an image is not black but neutral."""
    images = torch.full((40, 1, 3, 3), 200, dtype=torch.uint8)
    data = Images(images, torch.zeros(40, dtype=torch.int64), torch.full((1, 3, 3), 149.0))
    seen, _ = next(Augmented(data).batches(recipe(40, pad=1), 0, 0))
    assert sorted(set(seen.flatten().tolist())) == [0.0, pytest.approx(0.2)]


def test_a_view_does_not_depend_on_the_batch() -> None:
    """Of a sample in an epoch: the same with other batch sizes, and when training resumes in the middle."""
    data = split()
    streams = [
        torch.cat([images for images, _ in islice(Augmented(data).batches(recipe(size), 5, start), number)])
        for size, start, number in ((1, 0, 60), (4, 0, 15), (60, 0, 1), (10, 0, 6))
    ]
    assert all(torch.equal(streams[0], stream) for stream in streams)
    resumed = torch.cat([images for images, _ in islice(Augmented(data).batches(recipe(4), 5, 7), 8)])
    assert torch.equal(streams[0][28:], resumed)
    other, _ = next(Augmented(data).batches(recipe(60), 6, 0))
    assert not torch.equal(streams[0], other)


def test_clean_views() -> None:
    data = split()
    batches = list(Clean(data).batches(10))
    assert [len(labels) for _, labels in batches] == [10, 10, 3]
    images = torch.cat([images for images, _ in batches]).numpy()
    expected = (data.images.numpy().astype(np.float32) - data.mean.numpy()) / np.float32(255)
    assert np.array_equal(images, expected)
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(23))
