"""A run that goes on with more or fewer workers, where its recipe allows that: the same run up to rounding."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.store.checkpoints import restore, write
from resnet.data import Augmented, Batch, Clean
from resnet.data_parallel import Together, follow_rank_0
from resnet.recipe import Recipe
from resnet.training import train
from resnet.workers import share
from tests.tiny_run import DATA, RECIPE, SEED, split, untimed, weights
from tests.together import processes
from tests.training.test_data_parallel import LONG, ROUNDING, Done, Of, apart, begun, ended, same

KEY = "e" * 64
APART = replace(LONG, workers=2, min_workers=1)
RECIPES = {"apart": APART, "apart, again": APART, "synchronised": replace(APART, batch_norm_groups=1)}
ATTEMPTS = ((2, 7), (1, 13), (2, 20))  # workers, and the finished iterations after which they end


@dataclass
class Recorded:
    """Training data, and what was taken of them."""

    data: Augmented
    taken: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)  # iteration, images, labels

    @property
    def size(self) -> int:
        return self.data.size

    def batches(self, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        for iteration, (images, labels) in enumerate(self.data.batches(recipe, seed, start), start + 1):
            self.taken.append((iteration, images.clone(), labels.clone()))
            yield images, labels


@dataclass
class Attempt:
    """Of one recipe, on one worker."""

    taken: list[tuple[int, Tensor, Tensor]]
    world_sizes: list[tuple[int, int]]
    done: Done


def attempt(folder: Path, recipe: Recipe, until: int, workers: Together) -> Attempt:
    """From the last checkpoint, which rank 0 alone reads and writes, as in the pipeline."""
    begins = not any(folder.iterdir())
    run = begun(recipe, workers, seed=SEED if begins else SEED + 7 + workers.rank)
    if workers.rank == 0:
        assert restore(folder, KEY, run) is not begins
    follow_rank_0(run, workers)
    whole, data = split(30, 2), Recorded(Augmented(split(40, 1), workers))
    validation = Clean(whole.part(share(workers, whole.size)))
    for _ in islice(train(run, recipe, SEED, data, validation), until - run.iteration):
        pass
    done = Done(weights(run), untimed(run.rows), list(run.gradients))
    if workers.rank == 0:
        write(folder, KEY, run)
    return Attempt(data.taken, list(run.world_sizes), done)


def script(top: Path, until: int, workers: Together) -> dict[str, Attempt]:
    return {name: attempt(top / name, recipe, until, workers) for name, recipe in RECIPES.items()}


def fixed(workers: Together) -> dict[str, Done]:
    recipes = {name: replace(recipe, min_workers=None) for name, recipe in RECIPES.items()}
    return {name: ended(begun(recipe, workers), recipe) for name, recipe in recipes.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """At a fixed number of workers, by rank 0."""
    first: dict[str, Done] = processes(2, fixed, tmp_path_factory.mktemp("fixed"))[0]
    return first


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Attempt]]]:
    """By attempt and rank."""
    top = tmp_path_factory.mktemp("elastic")
    for name in RECIPES:
        (top / name).mkdir()
    return [
        processes(size, partial(script, top, until), tmp_path_factory.mktemp(f"until-{until}"))
        for size, until in ATTEMPTS
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_with_other_numbers_of_workers_it_is_the_run_up_to_rounding(
    name: str, attempts: list[list[dict[str, Attempt]]], undisturbed: dict[str, Done]
) -> None:
    last, expected = attempts[-1][0][name], undisturbed[name]
    assert last.world_sizes == [(0, 2), (7, 1), (13, 2)]
    assert 0 < apart(last.done, expected) < ROUNDING
    assert [row.iteration for row in last.done.rows] == [row.iteration for row in expected.rows]
    for row, other in zip(last.done.rows, expected.rows, strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert row.train_top1_error_percent == pytest.approx(other.train_top1_error_percent)
        assert row.val_top1_error_percent == pytest.approx(other.val_top1_error_percent)


def test_the_same_numbers_one_after_another_are_the_same_bits(attempts: list[list[dict[str, Attempt]]]) -> None:
    for of_ranks in attempts:
        for seen in of_ranks:
            assert same(seen["apart"].done, seen["apart, again"].done)


@pytest.mark.parametrize("name", RECIPES)
def test_every_sample_is_applied_once(name: str, attempts: list[list[dict[str, Attempt]]]) -> None:
    iterations = []
    for of_ranks in attempts:
        for of_iteration in zip(*(seen[name].taken for seen in of_ranks), strict=True):
            (iteration,) = {iteration for iteration, _, _ in of_iteration}
            images, labels = next(DATA.batches(RECIPES[name], SEED, iteration - 1))
            assert torch.equal(torch.cat([own for _, own, _ in of_iteration]), images), iteration
            assert torch.equal(torch.cat([own for _, _, own in of_iteration]), labels), iteration
            iterations.append(iteration)
    assert iterations == list(range(1, 21))


@pytest.mark.parametrize(
    ("workers", "least", "groups", "sizes"),
    [
        (1, None, None, (1,)),
        (8, None, None, (8,)),
        (8, 1, None, (8, 4, 2, 1)),
        (8, 3, None, (8, 4)),
        (8, 1, 1, (8, 4, 2, 1)),
        (4, 2, 16, (4, 2)),
    ],
)
def test_the_numbers_that_share_batch_and_groups_are_allowed(
    workers: int, least: int | None, groups: int | None, sizes: tuple[int, ...]
) -> None:
    recipe = replace(RECIPE, workers=workers, min_workers=least, batch_norm_groups=groups)
    assert recipe.sizes == sizes
    assert recipe.groups == (groups or workers)


def test_a_number_that_the_recipe_does_not_allow_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        begun(replace(LONG, workers=4, min_workers=2), Of(0, 1))
