"""Hooks that observe a network without changing it: moments of its layers' outputs, and its state restored."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PART = 64  # images that are in float64 at once; bounds memory, changes no result


class Moments:
    """The variance of all values added, in float64 and on their device; nothing waits before `variance`.

    Parts are joined by their counts, means and summed squared deviations (Chan, Golub & LeVeque 1983), so that the
    sizes of batches change only the rounding.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.deviations: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Adds values (N, ...) of any layout."""
        for part in torch.split(values, PART):
            exact = part.double()
            mean = exact.mean()
            count, distance = self.count + exact.numel(), mean - self.mean
            weight = self.count * exact.numel() / count
            self.deviations = self.deviations + (exact - mean).square_().sum() + distance.square() * weight
            self.mean = self.mean + distance * (exact.numel() / count)
            self.count = count

    def variance(self) -> float:
        """Returns the variance over all values; not a number where there were none."""
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
    """Returns a hook that adds the output at once, because the ReLU after it may overwrite it."""
    return lambda _, __, output: moments.add(output)


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Switches gradients off inside the block; restores train or eval mode and buffers on exit."""
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
