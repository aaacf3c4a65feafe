"""The flat part of a device's roofline: multiply-adds a second of a large matrix product."""

import time
from functools import cache

import torch

SIZES = (256, 512, 1024, 2048, 4096, 8192)  # rows and columns: a GPU needs the largest for its whole arithmetic
TIMES = 3  # the fastest counts
FAST = 1.5  # bfloat16 over float32, from which it is worth while
HOPELESS = 0.5  # the same, of smaller products: then no size of them makes it worth while
TURNS = 4  # of both formats
GAIN_SIZE = {"cpu": 1024, "cuda": 8192}  # rows and columns
MOST_S = 0.2  # that the products of one size may take in all; the smaller sizes together take a seventh of it


def peak_multiply_adds(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """A second, with the threads and the arithmetic that torch has now; measured once in a process.

    Whatever else the machine does meanwhile takes its part of it, as it does from training.
    """
    return _measured(device.type, dtype, torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32)


def fast_bf16(device: torch.device) -> bool:
    """Whether a large matrix product in bfloat16 takes at most two thirds of its time in float32, on torch's threads.

    Measured, for the instructions that a CPU names do not tell: one with AMX is several times faster in bfloat16, one
    with AVX512-BF16 alone can be slower.
    """
    return bf16_gain(device) >= FAST


def bf16_gain(device: torch.device) -> float:
    """Time of a large matrix product in float32 over that in bfloat16; measured once in a process."""
    return _gain(device.type, torch.get_num_threads())


@cache
def _gain(kind: str, _threads: int) -> float:
    """Of large products; of smaller ones where those settle it: without instructions for it a large one takes seconds.

    The smallest alone may not see it: on a busy machine their time is that of the threads to find each other.
    """
    for size in (GAIN_SIZE[kind] // 8, GAIN_SIZE[kind] // 4, GAIN_SIZE[kind] // 2):
        if (ratio := _ratio(size, kind)) < HOPELESS:
            return ratio
    return _ratio(GAIN_SIZE[kind], kind)


def _ratio(size: int, kind: str) -> float:
    """Of the fastest products, taken in turn, so that what else the machine does falls on both."""
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    for _ in range(TURNS):
        for dtype in best:
            best[dtype] = min(best[dtype], _seconds(size, kind, dtype))
    return best[torch.float32] / best[torch.bfloat16]


@cache
def _measured(kind: str, dtype: torch.dtype, _threads: int, _tf32: bool) -> float:
    """The best over sizes that double as long as a product, with eight times the work, stays cheap."""
    best = 0.0
    for size in SIZES:
        seconds = _seconds(size, kind, dtype)
        best = max(best, size**3 / seconds)
        if 8 * (TIMES + 1) * seconds > MOST_S:
            break
    if kind == "cuda":
        torch.cuda.empty_cache()  # others may share the device
    return best


def _seconds(size: int, kind: str, dtype: torch.dtype) -> float:
    """Of the fastest of TIMES products, after one that warms up."""
    chance = torch.Generator(kind).manual_seed(0)  # the run's own is left as it is
    a, b = (torch.randn(size, size, generator=chance, device=kind, dtype=dtype) for _ in range(2))
    product = torch.empty_like(a)
    best = float("inf")
    for turn in range(TIMES + 1):
        began = time.perf_counter()
        torch.mm(a, b, out=product)
        if kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began) if turn else best
    return best
