"""Records of a run: while it trains, and of networks built from it. Nothing here influences the weights."""

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


@dataclass(frozen=True, slots=True)
class IdentityCopy:
    """A deeper plain network, built from a trained one by identity layers (Sec. 1), on training images."""

    blocks: tuple[int, ...]  # a stage, of the deeper network
    error: float  # top-1, percent, without augmentation
    max_difference: float  # largest absolute difference between two logits of the two networks
    max_logit: float  # largest absolute logit of the trained network


def last_epoch_error(rows: list[Row], images: int, batch_size: int) -> float:
    """Training error in percent over the rows of the last epoch, or of the second half of training if that is less."""
    errors, iterations = zip(*_last_epoch(rows, images, batch_size), strict=True)
    return float(np.average(errors, weights=iterations))


def last_epoch_images(rows: list[Row], images: int, batch_size: int) -> int:
    """Returns how many training images `last_epoch_error` counts; one that was seen twice counts twice."""
    return batch_size * sum(iterations for _, iterations in _last_epoch(rows, images, batch_size))


def _last_epoch(rows: list[Row], images: int, batch_size: int) -> list[tuple[float, int]]:
    """Returns error and number of iterations of each row of the last epoch, or of the second half."""
    last = rows[-1].iteration
    first = last - min(images / batch_size, last / 2)
    starts = [0, *(row.iteration for row in rows)]
    return [
        (row.train_top1_error_percent, row.iteration - start)
        for start, row in zip(starts, rows, strict=False)
        if row.iteration > first
    ]
