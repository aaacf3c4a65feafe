"""Seconds of work on a device: warmed up, repeated, and waited for."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a measurement may take."""

    warm_up: int  # calls that are left out
    repetitions: int
    seconds: float  # of a repetition, at least; 0: one call


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one call."""

    seconds: float  # the median over the repetitions
    spread: float  # slowest over fastest repetition
    peak_mib: float | None  # the most that tensors took on the GPU; not told on a CPU
    first_s: float  # the first call, which also compiles and chooses algorithms


def wait(device: torch.device) -> None:
    """Until the device has done all that it was told; a CPU has when the call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device, effort: Effort) -> Timing:
    """After the calls that warm up one more tells how many calls a repetition has."""
    _forget_peak(device)
    first = _seconds(work, 1, device)
    for _ in range(effort.warm_up - 1):
        work()
    calls = max(1, math.ceil(effort.seconds / _seconds(work, 1, device))) if effort.seconds else 1
    taken = [_seconds(work, calls, device) / calls for _ in range(effort.repetitions)]
    return Timing(statistics.median(taken), max(taken) / min(taken), peak_mib(device), first)


def _seconds(work: Callable[[], object], calls: int, device: torch.device) -> float:
    wait(device)
    began = time.perf_counter()
    for _ in range(calls):
        work()
    wait(device)
    return time.perf_counter() - began


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


def halving(batch: int, measure: Callable[[int], T]) -> tuple[int, T]:
    """`measure` with the largest of batch, batch / 2, ... that fits in the device's memory, and that size.

    Raises torch.OutOfMemoryError where not even one image does.
    """
    while True:
        try:
            return batch, measure(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
        release()  # not above: the exception holds the frames, and they hold the tensors


def release() -> None:
    """Gives the memory of tensors that nothing refers to back to the device."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
