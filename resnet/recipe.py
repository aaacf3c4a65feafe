"""The recipe of a training run as data: Sec. 3.4 (ImageNet) and Sec. 4.2 (CIFAR-10)."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["fp32", "tf32", "bf16"]  # see resnet.device
MAX_COUNT = 10**9  # sanity bound of every integer field


def _finite(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    if not math.isfinite(value) or value > high or value < low or (open_low and value == low):
        raise ValueError(f"{name} must be in {'(' if open_low else '['}{low:g}, {high:g}], got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """Sec. 4.2: "we use 0.01 to warm up the training until the training error is below 80%"."""

    lr: float  # learning rate before the switch (0.01)
    until_train_error_percent: float  # the switch, judged when a history row is made (80)

    def __post_init__(self) -> None:
        _finite("warm_up.lr", self.lr, 0, 100, open_low=True)
        _finite("warm_up.until_train_error_percent", self.until_train_error_percent, 0, 100, open_low=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that decides how a network is trained, but its architecture, seed and data.

    Raises ValueError, naming the field, the value and what is allowed.
    """

    batch_size: int  # images per iteration over all workers (Sec. 3.4: 256, Sec. 4.2: 128)
    iterations: int  # Sec. 3.4: up to 60e4, Sec. 4.2: 64k
    lr: float  # 0.1
    lr_drops: tuple[int, ...]  # finished iterations after which lr is divided by 10 (Sec. 4.2: 32k, 48k)
    momentum: float  # 0.9
    weight_decay: float  # 1e-4, on all parameters
    pad: int  # pixels of zeros on each side before the random crop (Sec. 4.2: 4)
    flip: bool  # random horizontal flips
    warm_up: WarmUp | None = None
    max_relative_step: float | None = None  # largest change of a layer's weights in a step, as a part of their norm
    precision: Precision = "fp32"  # the same for plain and residual networks
    compile: bool = False  # torch.compile, for runs of hours: the same up to rounding
    workers: int = 1  # processes that train one network, each on its shard of every batch
    batch_norm_groups: int | None = None  # equal parts of a batch with statistics of their own; None: one a worker
    record_every: int  # iterations a history row averages over
    validate_every: int  # iterations between two measurements of the validation error; the last is always measured

    def __post_init__(self) -> None:
        for name in ("batch_size", "iterations", "record_every", "validate_every"):
            if not 1 <= getattr(self, name) <= MAX_COUNT:
                raise ValueError(f"{name} must be from 1 to {MAX_COUNT}, got {getattr(self, name)}")
        _finite("lr", self.lr, 0, 100, open_low=True)
        _finite("weight_decay", self.weight_decay, 0, 1)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")
        if self.max_relative_step is not None:
            _finite("max_relative_step", self.max_relative_step, 0, 100, open_low=True)
        if not 0 <= self.pad <= 1000:
            raise ValueError(f"pad must be from 0 to 1000 pixels, got {self.pad}")
        if list(self.lr_drops) != sorted(set(self.lr_drops)):
            raise ValueError(f"lr_drops must rise, each once, got {list(self.lr_drops)}")
        if any(not 0 < drop < self.iterations for drop in self.lr_drops):
            raise ValueError(
                f"lr_drops must be between 0 and iterations ({self.iterations}), got {list(self.lr_drops)}"
            )
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {self.precision!r}")
        if self.validate_every % self.record_every:
            raise ValueError(
                f"validate_every must be a multiple of record_every ({self.record_every}), got {self.validate_every}"
            )
        self._check_shards()

    def _check_shards(self) -> None:
        if not 1 <= self.workers <= self.batch_size or self.batch_size % self.workers:
            raise ValueError(f"workers must divide batch_size ({self.batch_size}), got {self.workers}")
        if not 1 <= self.groups <= self.batch_size or self.batch_size % self.groups:
            raise ValueError(f"batch_norm_groups must divide batch_size ({self.batch_size}), got {self.groups}")
        if self.groups != 1 and self.groups % self.workers:
            raise ValueError(
                f"batch_norm_groups must be 1, a multiple of workers ({self.workers}), or null for one a worker, "
                f"got {self.groups}"
            )
        if self.compile and self.groups != self.workers:
            raise ValueError(
                f"compile needs one batch normalisation a worker: batch_norm_groups must be null or "
                f"{self.workers}, got {self.groups}"
            )

    @property
    def groups(self) -> int:
        """The number of equal parts of a batch that are normalised by their own statistics, over all workers."""
        return self.workers if self.batch_norm_groups is None else self.batch_norm_groups


def learning_rate(recipe: Recipe, iteration: int, *, warming_up: bool) -> float:
    """Returns the learning rate of the iteration that follows `iteration` finished ones."""
    if warming_up and recipe.warm_up is not None:
        return recipe.warm_up.lr
    rate: float = recipe.lr * 0.1 ** sum(iteration >= drop for drop in recipe.lr_drops)
    return rate
