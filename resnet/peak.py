"""The flat part of a device's roofline: multiply-adds a second of a large matrix product."""

import time
from functools import cache

import torch

SIZE = {"cpu": 1024, "cuda": 8192}  # rows and columns: enough work for the device's whole arithmetic
TIMES = 5


def peak_multiply_adds(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """A second, with the threads that torch has now: the best of a few products, after one that warms up."""
    return _measured(device.type, dtype, torch.get_num_threads())


@cache
def _measured(kind: str, dtype: torch.dtype, _threads: int) -> float:
    size = SIZE[kind]
    a = torch.ones(size, size, device=kind, dtype=dtype)
    best = float("inf")
    for turn in range(TIMES + 1):
        began = time.perf_counter()
        product = a @ a
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - began) if turn else best
    return float(size**3 / best)
