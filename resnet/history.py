"""Records of a run while it trains. Nothing here influences the weights."""

import time
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Row:
    """One line of history.csv: means over the iterations since the last row."""

    iteration: int  # finished iterations
    epoch: float  # passes over the training split
    lr: float  # of the last of these iterations
    train_loss: float
    train_top1_error_percent: float  # on the augmented batches while they train, as in Fig. 4 and 6
    val_loss: float | None
    val_top1_error_percent: float | None
    seconds: float  # spent in training iterations since the first, over all attempts
    unix_time_s: float = field(default_factory=time.time)  # when the row was made


@dataclass(frozen=True, slots=True)
class Gradient:
    """L2 norm of the loss's gradient by the weights of each convolution, first to last, in one training iteration."""

    iteration: int  # 1 is the first
    norms: tuple[float, ...]


def last_epoch_error(rows: list[Row], images: int, batch_size: int) -> float:
    """Training error in percent over the rows of the last epoch, or of all where there was less than one."""
    first = rows[-1].iteration - images / batch_size
    weights, errors, before = [], [], 0
    for row in rows:
        if row.iteration > first:
            weights.append(row.iteration - before)
            errors.append(row.train_top1_error_percent)
        before = row.iteration
    return float(np.average(errors, weights=weights))
