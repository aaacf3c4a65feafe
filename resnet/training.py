"""The training loop of Sec. 3.4. Knows no files, no cluster and no tracker."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet.architectures import Architecture
from resnet.compiling import compiled
from resnet.data import EvalData, TrainData
from resnet.evaluation import Errors, evaluate, wrong
from resnet.gradients import gradient_norms
from resnet.history import Gradient, Row
from resnet.network import Network, build, initialise
from resnet.normalising import normalise_in
from resnet.precision import autocasting, set_arithmetic
from resnet.recipe import Precision, Recipe, learning_rate
from resnet.sgd import Sgd
from resnet.workers import ALONE, Workers, average, broadcast

EVAL_BATCH = 256  # images; bounds memory, decides no result
APART = 0x9E3779B97F4A7C15  # between the random streams of two workers, of 2^64


@dataclass(slots=True)
class Training:
    """A run between two iterations: all that decides how it goes on."""

    network: Network
    sgd: Sgd
    device: torch.device
    workers: Workers = ALONE
    iteration: int = 0  # finished iterations
    warm_up_ended_at: int | None = None  # the iteration of the switch (Sec. 4.2), None before it or without warm-up
    diverged: bool = False
    seconds: float = 0.0
    world_sizes: list[tuple[int, int]] = field(default_factory=list)  # finished iterations, and workers from then on
    rows: list[Row] = field(default_factory=list)
    gradients: list[Gradient] = field(default_factory=list)  # of iteration 1 and of those with a validation error
    sums: Tensor = field(
        default_factory=lambda: torch.zeros(3, dtype=torch.float64)
    )  # loss, errors, images since a row, over all workers


def start(
    architecture: Architecture,
    recipe: Recipe,
    *,
    classes: int,
    channels: int,
    seed: int,
    device: torch.device,
    workers: Workers = ALONE,
) -> Training:
    """A run before its first iteration; the same on each of the workers, of which the recipe allows so many."""
    assert workers.size in recipe.sizes
    network = build(architecture, classes, channels)
    normalise_in(network, recipe.groups, workers)
    initialise(network, seed)
    network.to(device).to(memory_format=torch.channels_last)
    sgd = Sgd.of(network.parameters(), momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    training = Training(network, sgd, device, workers)
    training.sums = training.sums.to(device)
    return training


def train(run: Training, recipe: Recipe, seed: int, data: TrainData, validation: EvalData) -> Iterator[Training]:
    """Goes on with `run` to its last iteration; yields it, changed in place, after every iteration.

    A run whose loss is no longer finite ends early with `diverged`: that is a result, not an error. With several
    workers, `data` gives this one's shares of the batches and `validation` is its share of the split; all have the
    same parameters, sums and rows after every iteration, but for the times.
    """
    if not run.world_sizes or run.world_sizes[-1][1] != run.workers.size:
        run.world_sizes.append((run.iteration, run.workers.size))
    batches = data.batches(recipe, seed, run.iteration)
    set_arithmetic(recipe.precision)
    count = run.sums.new_tensor([recipe.batch_size])
    forward = compiled(run.network) if recipe.compile else run.network
    dropout = run.network.architecture.shortcut_dropout > 0
    while run.iteration < recipe.iterations and not run.diverged:
        began = time.perf_counter()  # what the caller does between two iterations is not training
        if not run.network.training:
            run.network.train()
        lr = learning_rate(recipe, run.iteration, warming_up=run.warm_up_ended_at is None)
        run.sgd.rate.fill_(lr)
        images, labels = next(batches)
        if dropout:  # its choices too are a function of seed and iteration alone
            torch.manual_seed(((seed << 32) + run.iteration + run.workers.rank * APART) % 2**64)
        run.sums += torch.cat([_step(run, forward, images, labels, recipe.precision), count])
        run.iteration += 1
        ends_row = run.iteration % recipe.record_every == 0 or run.iteration == recipe.iterations
        sums = run.sums.tolist() if ends_row else []  # the only wait for the device
        run.seconds += time.perf_counter() - began
        if ends_row:
            _record(run, recipe, lr, data.size, sums, validation)
        if run.iteration == 1 or (ends_row and run.rows[-1].val_top1_error_percent is not None):
            run.gradients.append(Gradient(run.iteration, gradient_norms(run.network)))
        yield run


def _step(
    run: Training, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, precision: Precision
) -> Tensor:
    """One iteration of SGD: summed loss and errors of the mini-batch, (2,) float64, left on the device."""
    with autocasting(run.device, precision):
        logits = forward(images)
    loss = F.cross_entropy(logits.float(), labels)
    run.sgd.forget_gradients()
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        sums = torch.stack([loss.double() * len(labels), wrong(logits, labels, 1).double()])
        sums = average(run.workers, [p.grad for p in run.network.parameters() if p.grad is not None], sums)
    run.sgd.step()
    return sums


def _record(run: Training, recipe: Recipe, lr: float, size: int, sums: list[float], validation: EvalData) -> None:
    """Appends a row, measures the validation error where one is due, ends warm-up and notices divergence."""
    loss, error = sums[0] / sums[2], 100.0 * sums[1] / sums[2]
    run.diverged = not math.isfinite(loss)
    if recipe.warm_up is not None and run.warm_up_ended_at is None and error < recipe.warm_up.until_train_error_percent:
        run.warm_up_ended_at = run.iteration
    val_loss = val_error = None
    last = run.iteration == recipe.iterations or run.diverged
    if last or run.iteration % recipe.validate_every == 0:
        errors = _evaluate(run, validation)
        val_loss, val_error = errors.loss / errors.images, errors.top1_percent
    epoch = run.iteration * recipe.batch_size / size
    run.rows.append(Row(run.iteration, epoch, lr, loss, error, val_loss, val_error, run.seconds, time.time()))
    run.sums.zero_()


def _evaluate(run: Training, validation: EvalData) -> Errors:
    """Over all workers' shares of the split: counts, so none is padded. Rank 0's running statistics are taken."""
    if run.workers.size == 1:
        return evaluate(run.network, validation.batches(EVAL_BATCH))
    broadcast(run.workers, list(run.network.buffers()))
    own = evaluate(run.network, validation.batches(EVAL_BATCH))
    sums = run.sums.new_tensor([own.images, own.top1, own.top5, own.loss])
    run.workers.sum_(sums)
    images, top1, top5, loss = sums.tolist()
    return Errors(int(images), int(top1), int(top5), loss)
