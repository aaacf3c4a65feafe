"""Photographs on several workers: their batches are the batch, and every image is evaluated once."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from pipeline.loading.splits import Splits, load_splits
from pipeline.store.records import Manifest
from resnet.workers import Workers
from tests.data.test_shards import CPU, RECIPE, TRAIN, data
from tests.training.test_data_parallel import Of

__all__ = ["data"]  # the fixture: a prepared folder


def of(data: tuple[Path, Manifest], together: Workers) -> Splits:
    return load_splits(*data, CPU, together=together)


@pytest.mark.parametrize("size", [2, 4])
def test_the_workers_batches_of_photographs_are_the_batch(size: int, data: tuple[Path, Manifest]) -> None:
    whole = list(islice(of(data, Of(0, 1)).train.batches(RECIPE, 7, 3), 3))  # over the end of an epoch
    shares = [list(islice(of(data, Of(r, size)).train.batches(RECIPE, 7, 3), 3)) for r in range(size)]
    assert 5 * RECIPE.batch_size > TRAIN
    for (images, labels), *own in zip(whole, *shares, strict=True):
        assert [len(part) for _, part in own] == [RECIPE.batch_size // size] * size
        assert torch.equal(torch.cat([part for part, _ in own]), images)
        assert torch.equal(torch.cat([part for _, part in own]), labels)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_each_photograph_is_evaluated_by_one_worker(size: int, data: tuple[Path, Manifest]) -> None:
    whole = of(data, Of(0, 1)).val
    images, labels = next(whole.batches(whole.size))
    splits = [of(data, Of(rank, size)).val for rank in range(size)]
    batches = [batch for split in splits for batch in split.batches(2)]
    assert sum(split.size for split in splits) == whole.size
    assert torch.equal(torch.cat([part for part, _ in batches]), images)
    assert torch.equal(torch.cat([part for _, part in batches]), labels)
