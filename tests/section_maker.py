"""A section of the GPU benchmark in which something goes wrong, named by the sizes; imported by its process."""

import os
import signal
import time

import torch

from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.rows import Row
from benchmarks.gpu.sizes import Sizes


def section(_device: torch.device, sizes: Sizes) -> list[Measurement]:
    if sizes.tested == "no plan":
        raise MemoryError("for the data")
    wrong = {"hangs": hang, "dies": die}[sizes.tested]
    return [
        Measurement("before", lambda: [Row(name="before", unit="images/s", ours=1.0)]),
        Measurement("wrong", wrong),
        Measurement("behind", list),
    ]


def hang() -> list[Row]:
    time.sleep(3600)
    return []


def die() -> list[Row]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []
