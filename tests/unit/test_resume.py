"""A run is decided by its seed and recipe: repeated, observed, resumed or compiled, its end is bit-identical."""

import copy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet.device import missing_for_compilation
from resnet.evaluation import evaluate
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


PARTS = ("iteration", "rows", "gradients", "warm_up_ended_at")
State = dict[str, Any]


def saved(run: Training) -> State:
    """What a checkpoint holds, copied out of a run."""
    parts = {name: copy.copy(getattr(run, name)) for name in PARTS}
    return {"tensors": {name: tensor.clone() for name, tensor in run.state_tensors().items()}, **parts}


def resumed(state: State, recipe: Recipe, *, without: str = "nothing") -> Training:
    """The rest of the run in a fresh process: other initial weights, and only the state carried over."""
    run = begin(recipe, seed=SEED + 99)
    tensors = {name: tensor for name, tensor in state["tensors"].items() if not name.startswith(without)}
    own = {name: tensor for name, tensor in saved(run)["tensors"].items() if name.startswith(without)}
    run.load_tensors(tensors | own)
    for name in PARTS:
        if name != without:
            setattr(run, name, copy.copy(state[name]))
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
    assert [state["iteration"] for state in states] == list(range(RECIPE.iterations + 1))
    for state in states:
        again = resumed(state, recipe)
        assert equal(weights(again), weights(run)), f"after {state['iteration']}"
        assert untimed(again.rows) == untimed(run.rows), f"after {state['iteration']}"
        assert again.gradients == run.gradients, f"after {state['iteration']}"
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


@pytest.mark.slow
@pytest.mark.skipif(missing_for_compilation() is not None, reason=f"needs {missing_for_compilation()}")
def test_a_compiled_run_is_the_same_up_to_rounding_and_repeats_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiled = replace(RECIPE, compile=True)
    eager, run = finished(), begin(compiled)
    states = [(run.iteration, copy.deepcopy(run)) for _ in going(run, compiled) if run.iteration == 5]
    assert [row.iteration for row in run.rows] == [row.iteration for row in eager.rows]
    assert run.rows[0].train_loss == pytest.approx(eager.rows[0].train_loss, rel=1e-4)
    assert list(weights(run)) == list(weights(eager))
    for ours, theirs in zip(run.gradients[0].norms, eager.gradients[0].norms, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    (_, middle), *_ = states
    for _ in going(middle, compiled):
        pass
    assert equal(weights(middle), weights(run))
    assert untimed(middle.rows) == untimed(run.rows)
    torch.compiler.reset()
