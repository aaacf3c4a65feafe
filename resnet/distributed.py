"""Data-parallel training: several processes, called workers, train one network, each on its shard of every batch."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class WorkerLost(Exception):
    """Another worker of the run has ended, so that nothing can be summed any more."""


class Workers(Protocol):
    """The processes that train one run. All call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """The number of this worker, below `size`; the state of rank 0 is the run's."""
        ...

    @property
    def size(self) -> int: ...

    def sum_(self, tensor: Tensor) -> None:
        """Sums over all workers in place, bit-identical on each and at every repetition. Raises WorkerLost."""
        ...

    def broadcast_(self, tensor: Tensor) -> None:
        """Copies the tensor of rank 0 in place. Raises WorkerLost."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """The only worker: nothing is copied or added, so nothing is rounded."""

    @property
    def rank(self) -> int:
        return 0

    @property
    def size(self) -> int:
        return 1

    def sum_(self, tensor: Tensor) -> None:
        pass

    def broadcast_(self, tensor: Tensor) -> None:
        pass


ALONE = Alone()


def shard(workers: Workers, count: int) -> slice:
    """Returns which of `count` consecutive items are this worker's; each belongs to exactly one worker."""
    return slice(workers.rank * count // workers.size, (workers.rank + 1) * count // workers.size)


def average(workers: Workers, gradients: Sequence[Tensor], counts: Tensor) -> Tensor:
    """Averages the gradients over workers, in place; returns the sums over workers of `counts`, (k,) float64.

    One flat float32 bucket holds them all, so there is one sum an iteration. The shards of a batch are equally large:
    the mean of the gradients of their mean losses is the gradient of the batch's.
    """
    if workers.size == 1:
        return counts
    bucket = torch.cat([*(gradient.reshape(-1) for gradient in gradients), counts.float()])
    workers.sum_(bucket)
    *means, sums = _parts(bucket, [*gradients, counts])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.div_(workers.size))
    return sums.double()


def _parts(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views `flat` as tensors of these shapes."""
    ends = list(itertools.accumulate(tensor.numel() for tensor in like))
    return [flat[end - tensor.numel() : end].view(tensor.shape) for tensor, end in zip(like, ends, strict=True)]


def broadcast(workers: Workers, tensors: Sequence[Tensor]) -> None:
    """Copies the tensors of rank 0 in place, as one message for each kind of number."""
    if workers.size == 1:
        return
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        own = [tensor for tensor in tensors if tensor.dtype == kind]
        flat = torch.cat([tensor.reshape(-1) for tensor in own])
        workers.broadcast_(flat)
        for tensor, part in zip(own, _parts(flat, own), strict=True):
            tensor.copy_(part)


def broadcast_int(workers: Workers, value: int, device: torch.device) -> int:
    """Returns the integer of rank 0."""
    if workers.size == 1:
        return value
    message = torch.tensor([value], dtype=torch.int64, device=device)
    workers.broadcast_(message)
    return int(message)


@dataclass(frozen=True, slots=True)
class TorchProcessGroup:
    """The processes of torch's default group: gloo between CPUs, NCCL between GPUs.

    Rings add in an order that the ranks fix, so the same number of workers gives bit-identical sums.
    """

    rank: int
    size: int

    @classmethod
    def of_this_process(cls) -> "TorchProcessGroup":
        return cls(dist.get_rank(), dist.get_world_size())

    def sum_(self, tensor: Tensor) -> None:
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:  # gloo and NCCL have no narrower one
            raise WorkerLost(str(error).splitlines()[0]) from error

    def broadcast_(self, tensor: Tensor) -> None:
        try:
            dist.broadcast(tensor, src=0)
        except RuntimeError as error:
            raise WorkerLost(str(error).splitlines()[0]) from error


OVER = (0, 2, 3)  # images, rows and columns
MOMENTUM = 0.1  # torch's: the weight of the newest statistics in the running ones


class GhostBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of each of `groups` equal parts of the batch, in its order, by its own statistics.

    The running statistics are those of the first part: those of rank 0 where each worker normalises its own.
    """

    def __init__(self, channels: int, eps: float, groups: int) -> None:
        super().__init__(channels, eps=eps)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        first, *others = x.chunk(self.groups)
        outputs = [super().forward(first)]
        outputs += [F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in others]
        return torch.cat(outputs)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all workers' batches, which are equally large; on CPUs too."""

    def __init__(self, channels: int, eps: float, workers: Workers) -> None:
        super().__init__(channels, eps=eps)
        self.workers = workers

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            mean, variance = self._statistics(x.float())
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            count = x.numel() // x.shape[1] * self.workers.size
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(variance * (count / (count - 1)), MOMENTUM)
            self.num_batches_tracked.add_(1)
            scale = (variance + self.eps).rsqrt()
        normalised: Tensor = _Normalise.apply(x, self.weight, self.bias, mean, scale, self.workers)
        return normalised

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and variance over all workers, (C,) each.

        They are joined from each worker's own, because sums of squares would lose digits.
        """
        variance, mean = torch.var_mean(x, OVER, correction=0)
        both = torch.stack([mean.double(), variance.double() + mean.double() ** 2])
        self.workers.sum_(both)
        means, squares = both.div_(self.workers.size)
        return means.float(), (squares - means**2).clamp_min_(0).float()


class _Normalise(torch.autograd.Function):
    """weight * (x - mean) * scale + bias, with the gradient through mean and scale, which depend on all workers' x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, workers: Workers
    ) -> Any:
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.workers = workers
        return ((x.float() - _wide(mean)) * _wide(scale * weight) + _wide(bias)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, mean, scale = ctx.saved_tensors
        normal, dy = (x.float() - _wide(mean)) * _wide(scale), dy.float()
        sums = torch.stack([dy.sum(OVER, dtype=torch.float64), (dy * normal).sum(OVER, dtype=torch.float64)])
        bias, own = sums.float()  # of this worker's images: gradients are averaged over workers later
        ctx.workers.sum_(sums)
        means = sums.div_(x.numel() // x.shape[1] * ctx.workers.size).float()
        dx = (dy - _wide(means[0]) - normal * _wide(means[1])) * _wide(scale * weight)
        return dx.to(x.dtype), own, bias, None, None, None


def _wide(of_channels: Tensor) -> Tensor:
    return of_channels[:, None, None]


def use_ghost_batch_norm(network: nn.Module, groups: int, workers: Workers) -> None:
    """Replaces the batch normalisation of an untrained network by one over `groups` parts of the global batch.

    One group on several workers is synchronised. Otherwise `groups` is a multiple of the workers, and each has its own:
    the running statistics then differ between workers, and rank 0's are the run's, as in DistributedDataParallel.
    """
    own, over = divmod(groups, workers.size)
    if (own, over) == (1, 0):
        return
    assert over == 0 or groups == 1
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                channels, eps = layer.num_features, layer.eps
                synchronised = SynchronisedBatchNorm(channels, eps, workers)
                setattr(parent, name, synchronised if groups == 1 else GhostBatchNorm(channels, eps, own))
