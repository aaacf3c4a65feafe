"""The training loop of Sec. 3.4: schedule, update, records, divergence, and gradient norms."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resnet.architectures import ARCHITECTURES
from resnet.evaluation import evaluate
from resnet.gradients import convolutions, gradient_norms
from resnet.network import build
from resnet.recipe import Recipe, WarmUp, learning_rate
from resnet.training import Training, start
from tests.factories.tiny_run import (
    DATA,
    NETWORK,
    NEVER,
    RECIPE,
    SEED,
    VALIDATION,
    begin,
    equal,
    finished,
    going,
    rates,
    untimed,
    weights,
)


def test_the_paper_drops_after_32k_and_48k() -> None:
    recipe = replace(RECIPE, iterations=64_000, lr_drops=(32_000, 48_000))
    rate = {i: learning_rate(recipe, i, warming_up=False) for i in (0, 31_999, 32_000, 47_999, 48_000, 63_999)}
    assert rate == pytest.approx({0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001})


def test_warm_up_ends_at_the_first_row_below_its_error() -> None:
    recipe = replace(RECIPE, warm_up=NEVER)
    assert rates(recipe) == [0.03] * 11  # not even the drops
    errors = [row.train_top1_error_percent for row in finished(recipe).rows]
    switch = next(i for i in range(1, len(errors)) if errors[i] < min(errors[:i]))  # not the first row
    until = (errors[switch] + min(errors[:switch])) / 2
    recipe = replace(recipe, warm_up=WarmUp(lr=0.03, until_train_error_percent=until))
    run = finished(recipe)
    ended = RECIPE.record_every * (switch + 1)
    assert run.warm_up_ended_at == ended
    assert ended < RECIPE.iterations
    assert rates(recipe) == pytest.approx([0.03] * ended + rates(RECIPE)[ended:])


def test_a_bounded_step_changes_no_layer_by_more_and_leaves_smaller_steps() -> None:
    limit = 0.01
    run = begin(recipe := replace(RECIPE, lr=10.0, lr_drops=(), iterations=3, record_every=3, validate_every=3))
    bounded = begin(replace(recipe, max_relative_step=limit))
    before = [p.detach().clone() for p in bounded.network.parameters()]
    for one, used in ((run, recipe), (bounded, replace(recipe, max_relative_step=limit))):
        next(going(one, used))
    clipped = 0
    after = [[p.detach() for p in one.network.parameters()] for one in (run, bounded)]
    for old, free, new in zip(before, *after, strict=True):
        if old.dim() == 1:
            assert torch.equal(new, free)
            continue
        change = float(torch.linalg.vector_norm(new - old) / torch.linalg.vector_norm(old))
        assert change <= limit * (1 + 1e-4)
        clipped += float(torch.linalg.vector_norm(free - old) / torch.linalg.vector_norm(old)) > limit
    assert clipped > 2
    assert equal(finished(replace(RECIPE, max_relative_step=100.0)).network.state_dict(), weights(finished(RECIPE)))


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
        images, labels = next(DATA.batches(RECIPE, SEED, iteration))
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
        images, labels = next(DATA.batches(RECIPE, SEED, iteration))
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


# Gradient norms


def by_hand(run: Training, recipe: Recipe) -> list[float]:
    """Norms of the gradient that the next iteration will have: one backward pass of a copy, one tensor at a time."""
    copied = start(NETWORK, recipe, classes=3, channels=1, seed=0, device=torch.device("cpu"))
    copied.network.load_state_dict(run.network.state_dict())
    images, labels = next(DATA.batches(recipe, SEED, run.iteration))
    loss = functional.cross_entropy(copied.network.train()(images), labels)
    torch.autograd.backward(loss)
    names = [name for name, module in copied.network.named_modules() if isinstance(module, torch.nn.Conv2d)]
    found = [copied.network.get_parameter(f"{name}.weight").grad for name in names]
    return [math.sqrt(sum(float(x) ** 2 for x in g.flatten())) for g in found if g is not None]


def test_recorded_norms_are_autograds() -> None:
    run = begin()
    expected = {1: by_hand(run, RECIPE)}
    for _ in going(run):
        expected[run.iteration + 1] = by_hand(run, RECIPE)
    validated = [row.iteration for row in run.rows if row.val_top1_error_percent is not None]
    assert [gradient.iteration for gradient in run.gradients] == [1, *validated] == [1, 6, 11]
    for gradient in run.gradients:
        assert len(gradient.norms) == 5
        assert gradient.norms == pytest.approx(expected[gradient.iteration], rel=1e-6)
        assert gradient.norms != pytest.approx(expected[gradient.iteration + 1], rel=1e-3)


def test_they_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished()
    monkeypatch.setattr("resnet.training.gradient_norms", lambda network: ())
    without = finished()
    assert without.gradients != run.gradients
    assert untimed(without.rows) == untimed(run.rows)
    assert equal(weights(without), weights(run))


def test_a_nearly_vanished_gradient_is_measured() -> None:
    """In float32 the squares of 1e-30 are zero, and so would the norm be."""
    network = build(NETWORK, 3, 1)
    for convolution in convolutions(network).values():
        convolution.weight.grad = torch.full_like(convolution.weight, 1e-30)
    counts = [convolution.weight.numel() for convolution in convolutions(network).values()]
    assert gradient_norms(network) == pytest.approx([1e-30 * count**0.5 for count in counts], rel=1e-6, abs=0)


@pytest.mark.parametrize("name", ["resnet-50", "cifar-preact-110", "keras-resnet50v2"])
def test_the_order_is_that_of_the_forward_pass(name: str) -> None:
    network = build(replace(ARCHITECTURES[name], width=2), 3)
    names, seen = {module: own for own, module in convolutions(network).items()}, list[str]()
    for convolution in names:
        convolution.register_forward_hook(lambda module, _, __: seen.append(names[module]))
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert seen == list(names.values())
