"""Several processes that train one network, each on its share of every batch; one process is the ordinary case."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Workers(Protocol):
    """All call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """From 0 to size - 1; what rank 0 has is what stays of the run."""
        ...

    @property
    def size(self) -> int: ...

    def sum_(self, tensor: Tensor) -> None:
        """In place, the sum over all workers: the same bits on each, and whenever it is repeated. Raises WorkerLost."""
        ...

    def broadcast_(self, tensor: Tensor) -> None:
        """In place, what rank 0 has. Raises WorkerLost."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """The only worker: nothing is copied, nothing is added, so nothing is rounded."""

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


def share(workers: Workers, count: int) -> slice:
    """Which of `count` things in a row are this worker's; together the workers have each once."""
    return slice(workers.rank * count // workers.size, (workers.rank + 1) * count // workers.size)


def average(workers: Workers, gradients: Sequence[Tensor], counts: Tensor) -> Tensor:
    """Gradients become means over workers, in place; returns the sums over workers of `counts`, (k,) float64.

    All go through one flat float32 bucket, so there is one sum an iteration. The shares of a batch are equally large:
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
    """`flat` seen as tensors of these shapes."""
    ends = list(itertools.accumulate(tensor.numel() for tensor in like))
    return [flat[end - tensor.numel() : end].view(tensor.shape) for tensor, end in zip(like, ends, strict=True)]


def broadcast(workers: Workers, tensors: Sequence[Tensor]) -> None:
    """In place, what rank 0 has, as one message for each kind of number."""
    if workers.size == 1:
        return
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        own = [tensor for tensor in tensors if tensor.dtype == kind]
        flat = torch.cat([tensor.reshape(-1) for tensor in own])
        workers.broadcast_(flat)
        for tensor, part in zip(own, _parts(flat, own), strict=True):
            tensor.copy_(part)


def agree(workers: Workers, value: int, device: torch.device) -> int:
    """What rank 0 says."""
    if workers.size == 1:
        return value
    told = torch.tensor([value], dtype=torch.int64, device=device)
    workers.broadcast_(told)
    return int(told)
