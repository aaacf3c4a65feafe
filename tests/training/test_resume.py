"""A run is decided by its seed and recipe: repeated, watched or resumed, it ends in the same bits."""

from dataclasses import dataclass, replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from resnet.evaluation import evaluate
from resnet.history import Gradient, Row
from resnet.recipe import Recipe, WarmUp
from resnet.training import Training, start
from tests.tiny_run import NETWORK, RECIPE, SEED, VALIDATION, begin, equal, finished, going, untimed, weights

# Nothing but the seed and the recipe decides


def test_twice_the_same_and_another_seed_another() -> None:
    first, second, other = finished(), finished(), begin(seed=SEED + 1)
    assert equal(weights(first), weights(second))
    assert untimed(first.rows) == untimed(second.rows)
    assert first.gradients == second.gradients
    assert not equal(weights(begin()), weights(other))


def test_evaluation_in_between_changes_nothing() -> None:
    expected = finished(replace(RECIPE, validate_every=300))
    run = begin()
    for _ in going(run):
        run.network.eval()  # and left there
        evaluate(run.network, VALIDATION.batches(4))
    assert equal(weights(run), weights(expected))
    assert [row.train_loss for row in run.rows] == [row.train_loss for row in expected.rows]
    assert int(run.network.state_dict()["conv1.bn.num_batches_tracked"]) == RECIPE.iterations


@dataclass
class State:
    """What a checkpoint holds, copied out of a run."""

    network: dict[str, Tensor]
    momenta: list[Tensor]
    iteration: int
    sums: Tensor
    rows: list[Row]
    gradients: list[Gradient]
    warm_up_ended_at: int | None


def saved(run: Training) -> State:
    momenta = [momentum.clone() for momentum in run.sgd.momenta]
    lists = (list(run.rows), list(run.gradients))
    return State(weights(run), momenta, run.iteration, run.sums.clone(), *lists, run.warm_up_ended_at)


def resumed(state: State, recipe: Recipe, *, without: str = "") -> Training:
    """The rest of the run, by a fresh process: other initial weights, nothing but the state carried over."""
    run = begin(recipe, seed=SEED + 99)
    fresh = saved(run)
    state = replace(state, **{without: getattr(fresh, without)}) if without else state
    run.network.load_state_dict(state.network)
    if state.momenta:
        run.sgd.go_on(state.momenta)
    run.iteration, run.rows, run.warm_up_ended_at = state.iteration, list(state.rows), state.warm_up_ended_at
    run.sums.copy_(state.sums)
    run.gradients = list(state.gradients)
    for _ in going(run, recipe):
        pass
    return run


RECIPES = {
    "drops": RECIPE,
    "warm-up": replace(RECIPE, warm_up=WarmUp(lr=0.03, until_train_error_percent=100)),
    "bf16": replace(RECIPE, precision="bf16"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_after_any_iteration_bit_for_bit(name: str) -> None:
    recipe = RECIPES[name]
    run = begin(recipe)
    states = [saved(run)] + [saved(run) for _ in going(run, recipe)]
    assert [state.iteration for state in states] == list(range(RECIPE.iterations + 1))
    for state in states:
        again = resumed(state, recipe)
        assert equal(weights(again), weights(run)), f"after {state.iteration}"
        assert untimed(again.rows) == untimed(run.rows), f"after {state.iteration}"
        assert again.gradients == run.gradients, f"after {state.iteration}"
        assert again.warm_up_ended_at == run.warm_up_ended_at


@pytest.mark.parametrize("part", ["network", "momenta", "iteration", "sums", "rows", "gradients", "warm_up_ended_at"])
def test_resume_needs_every_part_of_the_state(part: str) -> None:
    """So that the test above would notice a checkpoint that forgets one."""
    recipe = RECIPES["warm-up"]
    run = finished(recipe)
    state = saved(next(islice(going(begin(recipe), recipe), 4, None)))  # after iteration 5, between two rows
    again = resumed(state, recipe, without=part)
    alike = (equal(weights(again), weights(run)), untimed(again.rows) == untimed(run.rows))
    assert not (all(alike) and again.gradients == run.gradients)
    if part == "gradients":  # they decide nothing else
        assert all(alike)


def test_dropout_repeats_itself() -> None:
    """2016, Sec. 3.1: what is dropped is a function of seed and iteration, not of what was drawn before."""
    network = replace(NETWORK, shortcut_dropout=0.5)
    begun = [start(network, RECIPE, classes=3, channels=1, seed=SEED, device=torch.device("cpu")) for _ in range(2)]
    for _ in going(begun[0]):
        pass
    for _ in going(begun[1]):
        torch.rand(7)
    assert equal(weights(begun[0]), weights(begun[1]))
    assert not equal(weights(begun[0]), weights(finished()))
