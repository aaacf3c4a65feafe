"""Which images an iteration sees and how they are cropped and flipped: against slow, separate arithmetic."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnet import sampling
from resnet.in_memory_data import Images, TrainBatches
from tests.factories.tiny_run import RECIPE


def split() -> Images:
    images = torch.randint(0, 256, (23, 3, 5, 6), generator=torch.Generator().manual_seed(11), dtype=torch.uint8)
    return Images(images, torch.arange(23), images.float().mean(dim=0))


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


def test_golden_values() -> None:
    """Written down once: results of other versions stay comparable only while these bits stay."""
    choices, samples = sampling.choices(7, 3, 10), np.arange(10)
    assert choices.bits[0, 0] == 0x7B6CC7B1862CC5F2
    assert choices.order.tolist() == [2, 5, 9, 7, 3, 0, 6, 8, 4, 1]
    assert choices.offset(0, samples, 9).tolist() == [7, 4, 4, 4, 6, 3, 5, 4, 0, 7]
    assert choices.offset(1, samples, 9).tolist() == [6, 5, 1, 8, 1, 6, 7, 3, 7, 6]
    assert choices.flip(samples).tolist() == [bit == 1 for bit in (1, 1, 0, 1, 0, 0, 1, 0, 0, 1)]
    assert choices.unit(samples[:3]).tolist() == [0.5981835815158014, 0.6181094627715211, 0.3426219139719646]


def slow_view(data: Images, seed: int, epoch: int, sample: int, pad: int, *, flip: bool) -> NDArray[np.float32]:
    """One augmented image, pixel by pixel."""
    size = len(data.images)
    bits = sampling.choices(seed, epoch, size).bits.ravel().tolist()
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
    batches = TrainBatches(data).batches(replace(RECIPE, batch_size=batch_size, pad=pad, flip=flip), seed, 0)
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
