"""The training loop of Sec. 3.4: schedule, update, records and divergence."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resnet.data import Batch
from resnet.evaluation import evaluate
from resnet.recipe import WarmUp, learning_rate
from tests.tiny_run import DATA, NEVER, RECIPE, SEED, VALIDATION, begin, equal, finished, going, rates, weights

# The schedule


def test_the_paper_drops_after_32k_and_48k() -> None:
    recipe = replace(RECIPE, iterations=64_000, lr_drops=(32_000, 48_000))
    rate = {i: learning_rate(recipe, i, warming_up=False) for i in (0, 31_999, 32_000, 47_999, 48_000, 63_999)}
    assert rate == pytest.approx({0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001})


def test_drops_come_after_the_named_iteration() -> None:
    assert rates(RECIPE) == pytest.approx([0.1] * 4 + [0.01] * 3 + [0.001] * 4)
    assert [row.lr for row in finished().rows] == pytest.approx([0.1, 0.01, 0.001, 0.001])  # iterations 3, 6, 9, 11


def test_warm_up_ends_at_the_first_row_below_its_error() -> None:
    recipe = replace(RECIPE, warm_up=NEVER)
    errors = [row.train_top1_error_percent for row in finished(recipe).rows]
    switch = next(i for i in range(1, len(errors)) if errors[i] < min(errors[:i]))  # not the first row
    until = (errors[switch] + min(errors[:switch])) / 2
    recipe = replace(recipe, warm_up=WarmUp(lr=0.03, until_train_error_percent=until))
    run = finished(recipe)
    ended = RECIPE.record_every * (switch + 1)
    assert run.warm_up_ended_at == ended
    assert ended < RECIPE.iterations
    after = [learning_rate(RECIPE, i, warming_up=False) for i in range(ended, RECIPE.iterations)]
    assert rates(recipe) == pytest.approx([0.03] * ended + after)


def test_warm_up_that_ends_at_once() -> None:
    recipe = replace(RECIPE, warm_up=WarmUp(lr=0.03, until_train_error_percent=100))
    assert finished(recipe).warm_up_ended_at == 3
    assert rates(recipe) == pytest.approx([0.03] * 3 + [0.1] + [0.01] * 3 + [0.001] * 4)


def test_warm_up_that_never_ends_is_to_be_seen() -> None:
    recipe = replace(RECIPE, warm_up=NEVER)
    assert rates(recipe) == [0.03] * 11  # not even the drops
    assert finished(recipe).warm_up_ended_at is None


# The update


def mini_batch(iteration: int) -> Batch:
    return next(DATA.batches(RECIPE, SEED, iteration))


def test_the_update_is_sgd_with_momentum_and_decay_of_everything() -> None:
    """v <- 0.9 v + (g + 0.01 w);  w <- w - lr v, for weights, biases and batch normalisation alike."""
    run = begin()
    with torch.no_grad():
        for parameter in run.network.parameters():
            parameter.add_(0.1)  # no zeros, so that decay is to be seen
    velocity: dict[str, Tensor] = {name: torch.zeros_like(p.detach()) for name, p in run.network.named_parameters()}
    steps = going(run)
    for iteration in range(6):
        before = copy.deepcopy(run.network).train()
        images, labels = mini_batch(iteration)
        torch.autograd.backward(functional.cross_entropy(before(images), labels))
        next(steps)
        for name, parameter in before.named_parameters():
            assert parameter.grad is not None
            velocity[name] = parameter.grad + 0.01 * parameter.detach() + 0.9 * velocity[name]
            expected = parameter.detach() - (0.1 if iteration < 4 else 0.01) * velocity[name]
            after = run.network.get_parameter(name).detach()
            torch.testing.assert_close(after, expected, rtol=2e-6, atol=2e-7, msg=f"{name} after {iteration + 1}")
            assert not torch.equal(after, parameter)


def test_rows_are_means_over_their_iterations() -> None:
    run = begin()
    losses: list[float] = []
    errors: list[float] = []
    expected: list[tuple[int, float, float]] = []
    networks = {}
    steps = going(run)
    for iteration in range(RECIPE.iterations):
        before = copy.deepcopy(run.network).train()
        images, labels = mini_batch(iteration)
        with torch.no_grad():
            scores = before(images)
        for score, label in zip(scores, labels.tolist(), strict=True):
            losses.append(-float(score.double().log_softmax(0)[label]))
            errors.append(100.0 * (int(score.argmax()) != label))
        next(steps)
        if iteration + 1 in (3, 6, 9, 11):
            expected.append((iteration + 1, sum(losses) / len(losses), sum(errors) / len(errors)))
            losses, errors = [], []
        networks[iteration + 1] = copy.deepcopy(run.network)
    assert next(steps, None) is None
    assert [row.iteration for row in run.rows] == [3, 6, 9, 11]
    for row, (iteration, loss, error) in zip(run.rows, expected, strict=True):
        assert row.train_loss == pytest.approx(loss, rel=1e-5)
        assert row.train_top1_error_percent == pytest.approx(error)
        assert row.epoch == pytest.approx(iteration * 16 / 40)
        if iteration in (6, 11):
            measured = evaluate(networks[iteration], VALIDATION.batches(7))
            assert row.val_top1_error_percent == pytest.approx(measured.top1_percent)
            assert row.val_loss == pytest.approx(measured.loss / 30, rel=1e-5)
        else:
            assert row.val_top1_error_percent is row.val_loss is None
    assert len({row.train_loss for row in run.rows}) == 4
    assert 0 < expected[0][2] < 100


def test_it_learns() -> None:
    recipe = replace(RECIPE, iterations=60, lr_drops=(40,))
    rows = finished(recipe).rows
    assert rows[-1].train_top1_error_percent < 25 < rows[0].train_top1_error_percent
    val = rows[-1].val_top1_error_percent
    assert val is not None
    assert val < 20


# Results that are not numbers, and other numbers


def test_a_diverged_run_is_marked_and_ends() -> None:
    recipe = replace(RECIPE, validate_every=300)  # its last row is measured nevertheless
    run = begin(recipe)
    for _ in going(run, recipe):
        if run.iteration == 4:
            with torch.no_grad():
                run.network.get_parameter("head.fc.weight").fill_(math.inf)
    assert run.diverged
    assert run.iteration == 6  # the row after iteration 5, the first bad one
    assert [row.iteration for row in run.rows] == [3, 6]
    assert math.isfinite(run.rows[0].train_loss)
    assert not math.isfinite(run.rows[1].train_loss)
    assert run.rows[1].train_top1_error_percent >= 200 / 3  # two of its three iterations
    assert run.rows[1].val_top1_error_percent == 100.0
    assert list(going(run)) == []  # and is not taken up again
    assert not finished().diverged


def test_bf16_is_another_precision_of_the_same_run() -> None:
    recipe = replace(RECIPE, precision="bf16", warm_up=None)
    exact, rounded = finished(), finished(recipe)
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in rounded.network.parameters())
    assert not equal(weights(exact), weights(rounded))
    assert rounded.rows[0].train_loss == pytest.approx(exact.rows[0].train_loss, rel=0.05)
    assert [row.iteration for row in rounded.rows] == [3, 6, 9, 11]
