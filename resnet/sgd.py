"""SGD with momentum and weight decay (Sec. 3.4), by torch's own fused step.

The first optimizer of torch.optim in a process imports torch's compiler, which takes every worker of every run seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class Sgd:
    """v <- momentum * v + gradient + weight_decay * w, then w <- w - rate * v; v is the first gradient at first."""

    parameters: list[Tensor]  # all on one device, float32
    momentum: float
    weight_decay: float
    rate: Tensor  # (), on the device: a new rate is a number there, and no wait for it
    momenta: list[Tensor] = field(
        default_factory=list
    )  # v of each parameter; none before the first step, or without momentum

    @classmethod
    def of(cls, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float) -> "Sgd":
        """For parameters that are where they stay."""
        held: list[Tensor] = list(parameters)
        device = held[0].device
        rate = torch.zeros((), dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
        return cls(held, momentum, weight_decay, rate)

    def forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """By the gradients of the last backward pass, which every parameter has."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        assert len(gradients) == len(self.parameters)
        first = self.momentum > 0 and not self.momenta
        if first:
            self.momenta = [torch.empty_like(gradient) for gradient in gradients]
        torch._fused_sgd_(
            self.parameters,
            gradients,
            self.momenta,
            lr=self.rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=first,
        )

    def make_room(self) -> None:
        """Momenta of no value yet, to be filled with those of a run that has made steps.

        They lie in memory as their parameters do, on which the order of additions depends.
        """
        self.momenta = [torch.empty_like(parameter) for parameter in self.parameters]

    def go_on(self, momenta: Iterable[Tensor]) -> None:
        """From those of a run that has made steps, one for each parameter."""
        self.make_room()
        for own, momentum in zip(self.momenta, momenta, strict=True):
            own.copy_(momentum)
