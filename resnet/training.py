"""The training loop of Sec. 3.4. Knows no files, no cluster and no tracker."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet.architectures import Architecture
from resnet.device import autocasting, compiled, set_arithmetic
from resnet.distributed import ALONE, Workers, average, broadcast, broadcast_int, use_ghost_batch_norm
from resnet.evaluation import Errors, evaluate, wrong
from resnet.gradients import gradient_norms
from resnet.history import Gradient, Row
from resnet.in_memory_data import EvalData, TrainData
from resnet.network import Network, build, initialise
from resnet.recipe import Recipe, learning_rate

EVAL_BATCH = 256  # images; bounds memory, changes no result
RANK_SEED_STRIDE = 0x9E3779B97F4A7C15  # between the dropout seeds of two ranks, modulo 2^64
NEVER = -1


@dataclass(slots=True)
class Training:
    """The state of a run between two iterations, and what it has recorded so far."""

    network: Network
    optimizer: torch.optim.SGD  # fused; its learning rate is a tensor on the device, so a new one is set without a wait
    device: torch.device
    workers: Workers = ALONE
    iteration: int = 0  # finished iterations
    warm_up_ended_at: int | None = None  # the iteration of the switch (Sec. 4.2), None before it or without warm-up
    diverged: bool = False
    sums: Tensor = field(
        default_factory=lambda: torch.zeros(3, dtype=torch.float64)
    )  # loss, errors, images since the last row, over all workers
    seconds: float = 0.0  # in iterations
    rows: list[Row] = field(default_factory=list)
    gradients: list[Gradient] = field(default_factory=list)  # of iteration 1 and of those with a validation error

    @property
    def momenta(self) -> list[Tensor]:
        """The optimizer's momentum buffers, one per parameter; none before the first step or without momentum."""
        return [state["momentum_buffer"] for state in self.optimizer.state.values()]

    def state_tensors(self) -> dict[str, Tensor]:
        """Returns the tensors of a checkpoint: network.NAME, momentum.INDEX and sums. They share the run's memory."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return tensors | {f"momentum.{i}": value for i, value in enumerate(self.momenta)} | {"sums": self.sums}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies the result of `state_tensors`, from any device, into this run.

        Raises KeyError or RuntimeError for tensors of another network.
        """
        prefix = "network."
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        self.network.load_state_dict(own)
        if "momentum.0" in tensors:
            self.allocate_momenta()
            for i, momentum in enumerate(self.momenta):
                momentum.copy_(tensors[f"momentum.{i}"])
        self.sums.copy_(tensors["sums"])

    def allocate_momenta(self) -> None:
        """Gives the optimizer momentum buffers without values, as it has after a step.

        They have the memory layout of the parameters, on which the order of additions depends.
        """
        state = self.optimizer.state_dict()
        buffers = enumerate(torch.empty_like(parameter) for parameter in self.network.parameters())
        state["state"] = {i: {"momentum_buffer": buffer} for i, buffer in buffers}
        self.optimizer.load_state_dict(state)


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
    """Returns a run before its first iteration; the same on each of the recipe's workers."""
    assert workers.size == recipe.workers
    network = build(architecture, classes, channels)
    use_ghost_batch_norm(network, recipe.groups, workers)
    initialise(network, seed)
    network.to(device).to(memory_format=torch.channels_last)
    lr = torch.zeros((), dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    run = Training(network, optimizer, device, workers)
    run.sums = run.sums.to(device)
    return run


def follow_rank_0(run: Training) -> None:
    """Copies the state of rank 0, which alone has read a checkpoint, to all workers; its records stay with it."""
    workers = run.workers
    if workers.size == 1:
        return
    if broadcast_int(workers, len(run.momenta), run.device) and not run.momenta:
        run.allocate_momenta()
    with torch.no_grad():
        broadcast(workers, list(run.state_tensors().values()))
    run.iteration = broadcast_int(workers, run.iteration, run.device)
    ended = broadcast_int(workers, NEVER if run.warm_up_ended_at is None else run.warm_up_ended_at, run.device)
    run.warm_up_ended_at = None if ended == NEVER else ended
    run.diverged = bool(broadcast_int(workers, int(run.diverged), run.device))


def train(run: Training, recipe: Recipe, seed: int, data: TrainData, validation: EvalData) -> Iterator[Training]:
    """Trains `run` to its last iteration; yields it, changed in place, after every iteration.

    A run whose loss is no longer finite ends early with `diverged`: that is a result, not an error. With several
    workers, `data` gives this one's shards of the batches and `validation` is its shard of the split; all have the
    same parameters, sums and rows after every iteration, except for the times.
    """
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
        run.optimizer.param_groups[0]["lr"].fill_(lr)
        images, labels = next(batches)
        if dropout:  # its choices too are a function of seed and iteration only
            torch.manual_seed(((seed << 32) + run.iteration + run.workers.rank * RANK_SEED_STRIDE) % 2**64)
        run.sums += torch.cat([_step(run, forward, images, labels, recipe), count])
        run.iteration += 1
        ends_row = run.iteration % recipe.record_every == 0 or run.iteration == recipe.iterations
        sums = run.sums.tolist() if ends_row else []  # the only wait for the device
        run.seconds += time.perf_counter() - began
        if ends_row:
            loss, error = sums[0] / sums[2], 100.0 * sums[1] / sums[2]
            _decide(run, recipe, loss, error)
            _record(run, recipe, lr, run.iteration * recipe.batch_size / data.size, loss, error, validation)
        if run.iteration == 1 or (ends_row and run.rows[-1].val_top1_error_percent is not None):
            run.gradients.append(Gradient(run.iteration, gradient_norms(run.network)))
        yield run


def _step(run: Training, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Takes one step of SGD; returns summed loss and errors of the mini-batch, (2,) float64, left on the device."""
    with autocasting(run.device, recipe.precision):
        logits = forward(images)
    loss = F.cross_entropy(logits.float(), labels)
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        sums = torch.stack([loss.double() * len(labels), wrong(logits, labels, 1).double()])
        sums = average(run.workers, [p.grad for p in run.network.parameters() if p.grad is not None], sums)
    if recipe.max_relative_step is None:
        run.optimizer.step()
    else:
        bounded_step(run.optimizer, recipe.max_relative_step)
    return sums


@torch.no_grad()
def bounded_step(optimizer: torch.optim.Optimizer, limit: float) -> None:
    """Takes a step in which the weights of each layer change by at most `limit` times their norm.

    Like the trust ratio of LARS (You et al. 2017, arXiv:1708.03888), but a bound alone: smaller steps stay as they are.
    It leaves biases and batch normalisation free, since a parameter that starts at 0 could never move.
    """
    weights = [p for group in optimizer.param_groups for p in group["params"] if p.dim() > 1]
    before = [weight.clone() for weight in weights]
    optimizer.step()
    for weight, old in zip(weights, before, strict=True):
        change = weight - old
        scale = limit * torch.linalg.vector_norm(old) / torch.linalg.vector_norm(change)
        weight.copy_(torch.where(scale < 1, old + change * scale, weight))


def _decide(run: Training, recipe: Recipe, loss: float, error: float) -> None:
    """Ends the warm-up and notices divergence, by the means over the iterations of a row."""
    run.diverged = not math.isfinite(loss)
    if recipe.warm_up is not None and run.warm_up_ended_at is None and error < recipe.warm_up.until_train_error_percent:
        run.warm_up_ended_at = run.iteration
    run.sums.zero_()


def _record(
    run: Training, recipe: Recipe, lr: float, epoch: float, loss: float, error: float, validation: EvalData
) -> None:
    """Appends a row, with the validation error where it is due."""
    val_loss = val_error = None
    if run.diverged or run.iteration == recipe.iterations or run.iteration % recipe.validate_every == 0:
        errors = _evaluate(run, validation)
        val_loss, val_error = errors.loss / errors.images, errors.top1_percent
    run.rows.append(Row(run.iteration, epoch, lr, loss, error, val_loss, val_error, run.seconds))


def _evaluate(run: Training, validation: EvalData) -> Errors:
    """Counts errors over all workers' shards of the split, without padding, by rank 0's running statistics."""
    if run.workers.size == 1:
        return evaluate(run.network, validation.batches(EVAL_BATCH))
    broadcast(run.workers, list(run.network.buffers()))
    own = evaluate(run.network, validation.batches(EVAL_BATCH))
    sums = run.sums.new_tensor([own.images, own.top1, own.top5, own.loss])
    run.workers.sum_(sums)
    images, top1, top5, loss = sums.tolist()
    return Errors(int(images), int(top1), int(top5), loss)
