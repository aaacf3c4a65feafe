"""One run on several ranks: bit-identical at the same number of them, the same up to rounding at another."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from resnet import training
from resnet.distributed import ALONE, GhostBatchNorm, SynchronisedBatchNorm, TorchProcessGroup, Workers, shard
from resnet.evaluation import Errors
from resnet.history import Gradient, Row
from resnet.in_memory_data import EvalBatches, TrainBatches
from resnet.recipe import Recipe, WarmUp
from resnet.training import Training, follow_rank_0, start, train
from tests.factories.ranks import Rank, processes
from tests.factories.tiny_run import DATA, NETWORK, RECIPE, SEED, begin, equal, finished, split, untimed, weights

LONG = replace(RECIPE, iterations=20, lr=0.02, warm_up=None)
UNEVEN = (30, 7, 2)  # images of a validation split
ROUNDING = 2e-5  # of weights of about 0.3 after 20 iterations
CPU = torch.device("cpu")
SIZES = [2, pytest.param(4, marks=pytest.mark.slow)]


@dataclass
class Done:
    """What a rank has at the end."""

    weights: dict[str, Tensor]
    rows: list[Row]
    gradients: list[Gradient]


@dataclass
class Seen:
    """The runs in which one rank of a group took part."""

    per_worker: Done
    again: Done
    synchronised: Done
    halved: Done  # with two parts on each rank
    resumed: dict[int, Done]
    warm: Done
    errors: dict[int, Errors]


def begun(recipe: Recipe, workers: Workers, seed: int = SEED) -> Training:
    return start(NETWORK, recipe, classes=3, channels=1, seed=seed, device=CPU, workers=workers)


def going(run: Training, recipe: Recipe) -> Any:
    whole, workers = split(30, 2), run.workers
    data = TrainBatches(split(40, 1), workers)
    return train(run, recipe, SEED, data, EvalBatches(whole.part(shard(workers, whole.size))))


def ended(run: Training, recipe: Recipe) -> Done:
    for _ in going(run, recipe):
        pass
    return Done(weights(run), untimed(run.rows), list(run.gradients))


def resumed_after(iteration: int, recipe: Recipe, workers: Workers) -> Done:
    """The run of fresh processes of which rank 0 alone has the checkpoint."""
    before, run = begun(recipe, workers), begun(recipe, workers, seed=SEED + 7 + workers.rank)
    for _ in islice(going(before, recipe), iteration):
        pass
    if workers.rank == 0:
        run.load_tensors(before.state_tensors())
        run.iteration, run.warm_up_ended_at = before.iteration, before.warm_up_ended_at
        run.rows, run.gradients = list(before.rows), list(before.gradients)
    follow_rank_0(run)
    return ended(run, recipe)


def errors_of(size: int, workers: Workers) -> Errors:
    """The errors of a half-trained network; each rank but the first has other running statistics."""
    run = finished(replace(RECIPE, iterations=5, lr_drops=()))
    run.workers = workers
    with torch.no_grad():
        for buffer in run.network.buffers():
            buffer.add_(workers.rank)
    whole = split(size, 9)
    return training._evaluate(run, EvalBatches(whole.part(shard(workers, size))))


def evaluation_only(workers: TorchProcessGroup) -> dict[int, Errors]:
    return {count: errors_of(count, workers) for count in UNEVEN}


def script(workers: TorchProcessGroup) -> Seen:
    size = workers.size
    mine, one = replace(LONG, workers=size), replace(LONG, workers=size, batch_norm_groups=1)
    warm = replace(RECIPE, workers=size, warm_up=WarmUp(lr=0.03, until_train_error_percent=100))
    halves = replace(mine, batch_norm_groups=2 * size)
    return Seen(
        per_worker=ended(begun(mine, workers), mine),
        again=ended(begun(mine, workers), mine),
        synchronised=ended(begun(one, workers), one),
        halved=ended(begun(halves, workers), halves),
        resumed={i: resumed_after(i, warm, workers) for i in range(RECIPE.iterations + 1)} if size == 2 else {},
        warm=ended(begun(warm, workers), warm),
        errors=evaluation_only(workers),
    )


@pytest.fixture(scope="module", params=SIZES)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    return processes(request.param, script, tmp_path_factory.mktemp("ranks"))


def same(a: Done, b: Done) -> bool:
    return equal(a.weights, b.weights) and a.rows == b.rows and a.gradients == b.gradients


def distance(a: Done, b: Done, *, statistics: bool = True) -> float:
    """The largest difference between two weights, and between running statistics."""
    names = [name for name in a.weights if statistics or "running" not in name]
    return max(float((a.weights[name].double() - b.weights[name].double()).abs().max()) for name in names)


def alone(recipe: Recipe) -> Done:
    return ended(begun(recipe, ALONE), recipe)


def test_a_plain_run_has_torchs_own_batch_normalisation() -> None:
    assert not [m for m in begin().network.modules() if isinstance(m, GhostBatchNorm | SynchronisedBatchNorm)]


def test_the_same_number_of_ranks_is_the_same_run_on_each(seen: list[Seen]) -> None:
    first = seen[0]
    for rank in seen:
        assert same(rank.per_worker, rank.again)
        assert same(rank.synchronised, first.synchronised)
        assert rank.per_worker.rows == first.per_worker.rows
        assert rank.per_worker.gradients == first.per_worker.gradients
        assert distance(rank.per_worker, first.per_worker, statistics=False) == 0.0


def test_synchronised_it_is_the_run_of_one_process_up_to_rounding(seen: list[Seen]) -> None:
    one = alone(LONG)
    assert 0 < distance(seen[0].synchronised, one) < ROUNDING
    for row, expected in zip(seen[0].synchronised.rows, one.rows, strict=True):
        assert row.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
        assert row.val_top1_error_percent == pytest.approx(expected.val_top1_error_percent)
    assert distance(seen[0].per_worker, one) > 100 * ROUNDING  # with a normalisation on each rank it is another run


def test_one_process_that_normalises_in_as_many_parts_is_the_same_run(seen: list[Seen]) -> None:
    size = len(seen)
    assert 0 < distance(seen[0].per_worker, alone(replace(LONG, batch_norm_groups=size))) < ROUNDING
    assert 0 < distance(seen[0].halved, alone(replace(LONG, batch_norm_groups=2 * size))) < ROUNDING


def test_a_run_resumed_after_any_iteration_is_bit_identical(seen: list[Seen]) -> None:
    for iteration, again in seen[0].resumed.items():
        assert same(again, seen[0].warm), f"after {iteration}"
    for iteration, again in seen[1].resumed.items():  # the rows before are rank 0's
        later = [row for row in seen[1].warm.rows if row.iteration > iteration]
        assert again.rows == later, f"after {iteration}"
    assert len(seen[0].resumed) == (RECIPE.iterations + 1 if len(seen) == 2 else 0)


def assert_counted_once(errors: list[dict[int, Errors]]) -> None:
    for count in UNEVEN:
        expected = errors_of(count, ALONE)
        assert expected.images == count
        for own in errors:
            assert (own[count].images, own[count].top1, own[count].top5) == (count, expected.top1, expected.top5)
            assert own[count].loss == pytest.approx(expected.loss, rel=1e-5)


def test_errors_are_counted_once_over_all_ranks(seen: list[Seen]) -> None:
    assert_counted_once([rank.errors for rank in seen])


@pytest.mark.slow
def test_errors_are_counted_once_over_three_ranks(tmp_path: Path) -> None:
    assert_counted_once(processes(3, evaluation_only, tmp_path))


# Shards


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 12])
def test_shards_are_the_whole_each_once(count: int, size: int) -> None:
    parts = [list(range(count))[shard(Rank(rank, size), count)] for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("size", [2, 4])
def test_the_batches_of_the_ranks_are_the_batch(size: int) -> None:
    recipe = replace(RECIPE, flip=True)
    for iteration in (0, 2, 3):  # 2 goes over the end of an epoch
        images, labels = next(DATA.batches(recipe, SEED, iteration))
        shards = [next(TrainBatches(DATA.split, Rank(r, size)).batches(recipe, SEED, iteration)) for r in range(size)]
        assert torch.equal(torch.cat([own for own, _ in shards]), images)
        assert torch.equal(torch.cat([own for _, own in shards]), labels)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 3}, r"workers must divide batch_size \(16\), got 3"),
        ({"workers": 0}, r"workers must divide batch_size \(16\), got 0"),
        ({"workers": 32}, r"workers must divide batch_size \(16\), got 32"),
        ({"batch_norm_groups": 5}, r"batch_norm_groups must divide batch_size \(16\), got 5"),
        ({"workers": 4, "batch_norm_groups": 2}, r"must be 1, a multiple of workers \(4\), or null .*, got 2"),
        ({"workers": 2, "batch_norm_groups": 1, "compile": True}, "compile .* must be null or 2, got 1"),
    ],
)
def test_what_cannot_be_divided_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(RECIPE, **changes)


@pytest.mark.parametrize(("workers", "given", "groups"), [(1, None, 1), (4, None, 4), (4, 1, 1), (4, 8, 8), (1, 8, 8)])
def test_one_group_per_rank_by_default(workers: int, given: int | None, groups: int) -> None:
    assert replace(RECIPE, workers=workers, batch_norm_groups=given).groups == groups
