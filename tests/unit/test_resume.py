"""A run is decided by its seed and recipe: repeated, observed or resumed, its end is bit-identical."""

from dataclasses import dataclass, replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from resnet.evaluation import evaluate
from resnet.history import Gradient, Row
from resnet.recipe import Recipe, WarmUp
from resnet.training import Training, start
from tests.factories.tiny_run import NETWORK, RECIPE, SEED, VALIDATION, begin, equal, finished, going, untimed, weights


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

    tensors: dict[str, Tensor]
    iteration: int
    rows: list[Row]
    gradients: list[Gradient]
    warm_up_ended_at: int | None


def saved(run: Training) -> State:
    tensors = {name: tensor.clone() for name, tensor in run.state_tensors().items()}
    return State(tensors, run.iteration, list(run.rows), list(run.gradients), run.warm_up_ended_at)


def resumed(state: State, recipe: Recipe, *, without: str = "") -> Training:
    """The rest of the run in a fresh process: other initial weights, and only the state carried over."""
    run = begin(recipe, seed=SEED + 99)
    fresh = saved(run)
    if without in ("network", "momentum", "sums"):
        own = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(without)}
        state = replace(state, tensors=own | {n: t for n, t in fresh.tensors.items() if n.startswith(without)})
    elif without:
        state = replace(state, **{without: getattr(fresh, without)})
    run.load_tensors(state.tensors)
    run.iteration, run.warm_up_ended_at = state.iteration, state.warm_up_ended_at
    run.rows, run.gradients = list(state.rows), list(state.gradients)
    for _ in going(run, recipe):
        pass
    return run


RECIPES = {
    "drops": RECIPE,
    "warm-up": replace(RECIPE, warm_up=WarmUp(lr=0.03, until_train_error_percent=100)),
    "bf16": replace(RECIPE, precision="bf16"),
    "no momentum": replace(RECIPE, momentum=0.0),
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


@pytest.mark.parametrize("part", ["network", "momentum", "iteration", "sums", "rows", "gradients", "warm_up_ended_at"])
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
