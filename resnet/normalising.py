"""Batch normalisation of a batch that is not one piece: in equal parts, or as a whole that lies on several workers."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resnet.workers import Workers

OVER = (0, 2, 3)  # images, rows and columns
MOMENTUM = 0.1  # torch's: the weight of the newest statistics in the running ones


class PartedBatchNorm(nn.BatchNorm2d):
    """Each of `parts` equal parts of the batch, in its order, is normalised by its own statistics.

    The running statistics are those of the first part, which is what rank 0 has when each worker normalises its own.
    """

    def __init__(self, channels: int, eps: float, parts: int) -> None:
        super().__init__(channels, eps=eps)
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        first, *others = x.chunk(self.parts)
        outputs = [super().forward(first)]
        outputs += [F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in others]
        return torch.cat(outputs)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """One mean and one variance for the batches of all workers, which are equally large. Works on CPUs and GPUs."""

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
        """Mean and variance over all workers, (C,) each: by the parts' own, for sums of squares would lose digits."""
        variance, mean = torch.var_mean(x, OVER, correction=0)
        both = torch.stack([mean.double(), variance.double() + mean.double() ** 2])
        self.workers.sum_(both)
        means, squares = both.div_(self.workers.size)
        return means.float(), (squares - means**2).clamp_min_(0).float()


class _Normalise(torch.autograd.Function):
    """weight * (x - mean) * scale + bias, whose gradient knows that mean and scale come from all workers' x."""

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


def normalise_in(network: nn.Module, groups: int, workers: Workers) -> None:
    """Has the fresh network's batch normalisation take the global batch in `groups` parts, in its order.

    One group on several workers is synchronised. Else `groups` is a multiple of the workers, and each has its own: then
    the running statistics differ between workers, and rank 0's are the run's, as in torch's DistributedDataParallel.
    """
    parts, over = divmod(groups, workers.size)
    if (parts, over) == (1, 0):
        return
    assert over == 0 or groups == 1
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                channels, eps = layer.num_features, layer.eps
                synchronised = SynchronisedBatchNorm(channels, eps, workers)
                setattr(parent, name, synchronised if groups == 1 else PartedBatchNorm(channels, eps, parts))
