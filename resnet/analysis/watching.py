"""Watching a network without changing it: moments of what its layers put out, and its state put back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PART = 64  # images that are in float64 at once; bounds memory, decides no result


class Moments:
    """Variance of all values that it is given, in float64 and on their device; nothing waits before `variance`.

    Parts are joined by their counts, means and summed squared deviations (Chan, Golub & LeVeque 1983), so that beyond
    rounding the sizes of batches decide nothing.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.deviations: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """(N, ...) of any layout."""
        for part in torch.split(values, PART):
            exact = part.double()
            mean = exact.mean()
            count, apart = self.count + exact.numel(), mean - self.mean
            weight = self.count * exact.numel() / count
            self.deviations = self.deviations + (exact - mean).square_().sum() + apart.square() * weight
            self.mean = self.mean + apart * (exact.numel() / count)
            self.count = count

    def variance(self) -> float:
        """Over all values; not a number where there were none."""
        return float(self.deviations) / self.count if self.count else float("nan")


@contextmanager
def watched(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Moments]]:
    """Adds the outputs of `modules` in every forward pass inside the block to the moments of their names."""
    moments = {name: Moments() for name in modules}
    hooks = [module.register_forward_hook(_adding(moments[name])) for name, module in modules.items()]
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()


def _adding(moments: Moments) -> Callable[[nn.Module, Any, Tensor], None]:
    """At once, for a ReLU behind may write over the output."""
    return lambda _, __, output: moments.add(output)


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """No gradients inside the block; afterwards every module has its mode and every buffer its values of before."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, before in buffers:
            buffer.copy_(before)
