"""A section as a plan: measurements in the order in which they are made, until its time is over."""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from benchmarks.gpu.clock import release
from benchmarks.gpu.rows import LeftOut, Row
from benchmarks.gpu.sizes import Sizes


class Skipped(Exception):
    """A measurement that cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Measurement:
    name: str
    take: Callable[[], list[Row]]  # raises Skipped


Section = Callable[[torch.device, Sizes], list[Measurement]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a measurement. A row takes the place of an earlier one of its name."""

    name: str
    rows: tuple[Row, ...] = ()
    left_out: LeftOut | None = None


def carried_out(
    measurements: list[Measurement], ends: float, now: Callable[[], float] = time.monotonic
) -> Iterator[Outcome]:
    """After `ends`, in the seconds of `now`, no other measurement is begun.

    What fails is told, with its traceback on standard error, and the rest goes on: time on a GPU is dear.
    """
    for measurement in measurements:
        name = measurement.name
        if now() >= ends:
            yield Outcome(name, left_out=LeftOut(name, "no time was left"))
            continue
        try:
            outcome = Outcome(name, tuple(measurement.take()))
        except Skipped as reason:
            outcome = Outcome(name, left_out=LeftOut(name, str(reason)))
        except torch.OutOfMemoryError:
            outcome = Outcome(name, left_out=LeftOut(name, "the device has not enough memory"))
        except Exception as error:
            traceback.print_exc()
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            outcome = Outcome(name, left_out=LeftOut(name, why, failed=True))
        yield outcome
        release()
