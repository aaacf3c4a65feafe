"""One run on several workers: the same bits at the same number of them, the same run up to rounding at another."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from resnet import training
from resnet.data import Augmented, Clean
from resnet.data_parallel import Together, follow_rank_0
from resnet.evaluation import Errors
from resnet.history import Gradient, Row
from resnet.normalising import PartedBatchNorm, SynchronisedBatchNorm
from resnet.recipe import Recipe, WarmUp
from resnet.training import Training, start, train
from resnet.workers import ALONE, Workers, share
from tests.tiny_run import DATA, NETWORK, RECIPE, SEED, VALIDATION, begin, equal, finished, split, untimed, weights
from tests.together import processes
from tests.training.test_resume import State, saved

LONG = replace(RECIPE, iterations=20, lr=0.02, warm_up=None)
UNEVEN = (30, 7, 2)  # images of a validation split
ROUNDING = 2e-5  # of weights of about 0.3 after 20 iterations
CPU = torch.device("cpu")


@dataclass
class Done:
    """What a worker holds at the end."""

    weights: dict[str, Tensor]
    rows: list[Row]
    gradients: list[Gradient]


@dataclass
class Seen:
    """What one worker of a group went through."""

    per_worker: Done
    again: Done
    synchronised: Done
    synchronised_again: Done
    halved: Done | None  # with two parts on each worker
    resumed: dict[int, Done]
    warm: Done
    errors: dict[int, Errors]


def begun(recipe: Recipe, workers: Workers, seed: int = SEED) -> Training:
    return start(NETWORK, recipe, classes=3, channels=1, seed=seed, device=CPU, workers=workers)


def ended(run: Training, recipe: Recipe) -> Done:
    whole, workers = split(30, 2), run.workers
    data = Augmented(split(40, 1), workers)
    for _ in train(run, recipe, SEED, data, Clean(whole.part(share(workers, whole.size)))):
        pass
    return Done(weights(run), untimed(run.rows), list(run.gradients))


def states(recipe: Recipe, workers: Workers) -> list[State]:
    """After every iteration, as rank 0 would write them."""
    run, whole = begun(recipe, workers), split(30, 2)
    data = Augmented(split(40, 1), workers)
    every = train(run, recipe, SEED, data, Clean(whole.part(share(workers, whole.size))))
    return [saved(run)] + [saved(run) for _ in every]


def gone_on(state: State, recipe: Recipe, workers: Workers) -> Done:
    """By fresh processes of which rank 0 alone has the checkpoint."""
    run = begun(recipe, workers, seed=SEED + 7 + workers.rank)
    if workers.rank == 0:
        run.network.load_state_dict(state.network)
        if state.momenta:
            run.sgd.go_on(state.momenta)
        run.iteration, run.warm_up_ended_at = state.iteration, state.warm_up_ended_at
        run.sums.copy_(state.sums)
        run.rows, run.gradients = list(state.rows), list(state.gradients)
    follow_rank_0(run, workers)
    return ended(run, recipe)


def errors_of(size: int, workers: Workers) -> Errors:
    """Of a network that knows something and not all; each worker but the first has other running statistics."""
    run = finished(replace(RECIPE, iterations=5, lr_drops=()))
    run.workers = workers
    with torch.no_grad():
        for buffer in run.network.buffers():
            buffer.add_(workers.rank)
    whole = split(size, 9)
    return training._evaluate(run, Clean(whole.part(share(workers, size))))


def script(workers: Together) -> Seen:
    size = workers.size
    mine, one = replace(LONG, workers=size), replace(LONG, workers=size, batch_norm_groups=1)
    warm = replace(RECIPE, workers=size, warm_up=WarmUp(lr=0.03, until_train_error_percent=100))
    resumed = {state.iteration: gone_on(state, warm, workers) for state in states(warm, workers)} if size == 2 else {}
    halves = replace(mine, batch_norm_groups=2 * size)
    return Seen(
        per_worker=ended(begun(mine, workers), mine),
        again=ended(begun(mine, workers), mine),
        synchronised=ended(begun(one, workers), one),
        synchronised_again=ended(begun(one, workers), one),
        halved=ended(begun(halves, workers), halves),
        resumed=resumed,
        warm=ended(begun(warm, workers), warm),
        errors={count: errors_of(count, workers) for count in UNEVEN},
    )


def evaluation_alone(workers: Together) -> dict[int, Errors]:
    return {count: errors_of(count, workers) for count in UNEVEN}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Seen]]:
    return {size: processes(size, script, tmp_path_factory.mktemp(f"workers-{size}")) for size in (1, 2, 4)}


def same(a: Done, b: Done) -> bool:
    return equal(a.weights, b.weights) and a.rows == b.rows and a.gradients == b.gradients


def apart(a: Done, b: Done, *, statistics: bool = True) -> float:
    """The largest difference between two weights, and between running statistics."""
    names = [name for name in a.weights if statistics or "running" not in name]
    return max(float((a.weights[name].double() - b.weights[name].double()).abs().max()) for name in names)


def alone(recipe: Recipe) -> Done:
    return ended(begun(recipe, ALONE), recipe)


# One worker


def test_one_worker_of_a_group_is_the_plain_run_bit_for_bit(seen: dict[int, list[Seen]]) -> None:
    plain = finished(LONG)
    assert same(seen[1][0].per_worker, Done(weights(plain), untimed(plain.rows), plain.gradients))
    assert same(seen[1][0].synchronised, seen[1][0].per_worker)


def test_a_plain_run_has_torchs_own_batch_normalisation() -> None:
    assert not [m for m in begin().network.modules() if isinstance(m, PartedBatchNorm | SynchronisedBatchNorm)]


# Several


@pytest.mark.parametrize("size", [2, 4])
def test_the_same_number_of_workers_is_the_same_run(size: int, seen: dict[int, list[Seen]]) -> None:
    for worker in seen[size]:
        assert same(worker.per_worker, worker.again)
        assert same(worker.synchronised, worker.synchronised_again)
    first = seen[size][0]
    for worker in seen[size][1:]:
        assert worker.per_worker.rows == first.per_worker.rows
        assert worker.per_worker.gradients == first.per_worker.gradients
        assert apart(worker.per_worker, first.per_worker, statistics=False) == 0.0
        assert same(worker.synchronised, first.synchronised)


@pytest.mark.parametrize("size", [2, 4])
def test_synchronised_it_is_the_run_of_one_worker_up_to_rounding(size: int, seen: dict[int, list[Seen]]) -> None:
    one = alone(LONG)
    assert 0 < apart(seen[size][0].synchronised, one) < ROUNDING
    assert [row.iteration for row in seen[size][0].synchronised.rows] == [row.iteration for row in one.rows]
    for row, expected in zip(seen[size][0].synchronised.rows, one.rows, strict=True):
        assert row.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
        assert row.train_top1_error_percent == pytest.approx(expected.train_top1_error_percent)
        assert row.val_top1_error_percent == pytest.approx(expected.val_top1_error_percent)
    assert apart(seen[size][0].per_worker, one) > 100 * ROUNDING  # normalised apart, it is another run


@pytest.mark.parametrize("size", [2, 4])
def test_apart_it_is_one_worker_that_normalises_in_as_many_parts(size: int, seen: dict[int, list[Seen]]) -> None:
    assert 0 < apart(seen[size][0].per_worker, alone(replace(LONG, batch_norm_groups=size))) < ROUNDING
    halved = seen[size][0].halved
    assert halved is not None
    assert 0 < apart(halved, alone(replace(LONG, batch_norm_groups=2 * size))) < ROUNDING


def test_resumed_after_any_iteration_bit_for_bit(seen: dict[int, list[Seen]]) -> None:
    assert [sorted(worker.resumed) for worker in seen[2]] == [list(range(RECIPE.iterations + 1))] * 2
    for iteration, again in seen[2][0].resumed.items():
        assert same(again, seen[2][0].warm), f"after {iteration}"
    for iteration, again in seen[2][1].resumed.items():  # the rows before stay with rank 0
        later = [row for row in seen[2][1].warm.rows if row.iteration > iteration]
        assert (again.rows, again.weights.keys()) == (later, seen[2][1].warm.weights.keys()), f"after {iteration}"


def test_errors_are_counted_once_over_any_number_of_workers(
    seen: dict[int, list[Seen]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    three = processes(3, evaluation_alone, tmp_path_factory.mktemp("three"))
    for count in UNEVEN:
        expected = errors_of(count, ALONE)
        assert expected.images == count
        for errors in [worker.errors for workers in seen.values() for worker in workers] + three:
            assert (errors[count].images, errors[count].top1, errors[count].top5) == (
                expected.images,
                expected.top1,
                expected.top5,
            )
            assert errors[count].loss == pytest.approx(expected.loss, rel=1e-5)
    assert 0 < errors_of(UNEVEN[0], ALONE).top1 < UNEVEN[0]


# Shares


@dataclass(frozen=True)
class Of:
    """A worker's place in a group, without the group."""

    rank: int
    size: int

    def sum_(self, tensor: Tensor) -> None:
        raise AssertionError("nothing is summed here")

    def broadcast_(self, tensor: Tensor) -> None:
        raise AssertionError("nothing is sent here")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 12])
def test_shares_are_the_whole_each_once(count: int, size: int) -> None:
    parts = [list(range(count))[share(Of(rank, size), count)] for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("size", [2, 4])
def test_the_workers_batches_are_the_batch(size: int) -> None:
    recipe = replace(RECIPE, flip=True)
    for iteration in (0, 2, 3):  # 2 goes over the end of an epoch
        images, labels = next(DATA.batches(recipe, SEED, iteration))
        shares = [next(Augmented(DATA.split, Of(r, size)).batches(recipe, SEED, iteration)) for r in range(size)]
        assert torch.equal(torch.cat([own for own, _ in shares]), images)
        assert torch.equal(torch.cat([own for _, own in shares]), labels)
    assert VALIDATION.size == 30


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
def test_what_cannot_be_shared_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(RECIPE, **changes)


@pytest.mark.parametrize(("workers", "asked", "groups"), [(1, None, 1), (4, None, 4), (4, 1, 1), (4, 8, 8), (1, 8, 8)])
def test_one_group_a_worker_unless_asked_otherwise(workers: int, asked: int | None, groups: int) -> None:
    assert replace(RECIPE, workers=workers, batch_norm_groups=asked).groups == groups
