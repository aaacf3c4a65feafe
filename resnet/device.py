"""The device and its arithmetic: number formats, repeatable results, compilation, and how fast it multiplies.

A run has one number format for convolutions and matrix products, the same for plain and residual networks, which its
recipe names. Weights, sums and statistics stay float32.
"""

import os
import shutil
import sysconfig
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet.recipe import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
COMPILE_OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {
    # Without it, Inductor takes a backward pass for one without convolutions, and copies to NCHW (pytorch#189239)
    "force_layout_optimization": True,
    "fallback_random": True,  # dropout draws what it draws without compilation
}

SIZES = (256, 512, 1024, 2048, 4096, 8192)  # rows and columns: a GPU needs the largest to reach its peak
TIMES = 3  # products of one size; the fastest counts
MAX_S = 0.2  # for all products of one size; the smaller sizes take a seventh of it in all
FAST = 1.5  # speed of bfloat16 over float32 from which it is worth using
SLOW = 0.5  # the same ratio on small matrices; below it large ones are not measured
REPETITIONS = 4  # of both formats
GAIN_SIZE = {"cpu": 1024, "cuda": 8192}  # rows and columns
FORWARD_AND_BACKWARD = 3  # the backward pass takes about twice the forward pass's multiply-adds


def set_arithmetic(precision: Precision) -> None:
    """Sets the arithmetic of this process: its format, denormals flushed to zero, deterministic kernels on GPUs.

    cuDNN by default rounds float32 to ten bits of mantissa; here only tf32 does.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def autocasting(device: torch.device, precision: Precision) -> torch.autocast:
    """Returns a context for forward passes: bfloat16 where torch's autocast has it, or none."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def compiled(network: nn.Module, *, backend: str = "inductor") -> Callable[[Tensor], Tensor]:
    """Returns the same function of the same parameters, up to rounding; its first call takes tens of seconds."""
    options = COMPILE_OPTIONS if backend == "inductor" else None
    return torch.compile(network, backend=backend, dynamic=False, options=options)


def missing_for_compilation() -> str | None:
    """Names what compilation for a CPU needs and this machine has not."""
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if not any(shutil.which(name) for name in compilers):
        return f"a C++ compiler ({' or '.join(compilers)}) on PATH"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return f"Python's header files (Python.h in {sysconfig.get_path('include')})"
    return None


def peak_multiply_adds(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Measures the device's multiply-adds a second in large matrix products, once in a process.

    It is the flat part of the roofline for torch's current threads and arithmetic. What else runs on the machine
    lowers it, as it lowers the speed of training.
    """
    return _peak(device.type, dtype, torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32)


def roofline_images_per_second(peak: float, multiply_adds: int) -> float:
    """Returns the images trained a second on a device that does nothing but multiply and add.

    `peak` is from `peak_multiply_adds`; `multiply_adds` are those of one forward pass of one image.
    """
    return peak / (FORWARD_AND_BACKWARD * multiply_adds)


def fast_bf16(device: torch.device) -> bool:
    """Whether a large matrix product in bfloat16 takes at most two thirds of its time in float32, on torch's threads.

    It is measured, because the names of a CPU's instructions do not say: with AMX bfloat16 is several times faster,
    with AVX512-BF16 only it can be slower.
    """
    return bf16_gain(device) >= FAST


def bf16_gain(device: torch.device) -> float:
    """Measures the time of a large matrix product in float32 over that in bfloat16, once in a process."""
    return _gain(device.type, torch.get_num_threads())


@cache
def _gain(kind: str, _threads: int) -> float:
    """Measures growing sizes and stops where bfloat16 is slow: emulated, a large product takes seconds.

    The smallest size cannot decide: on a busy machine its time is that of the threads' synchronisation.
    """
    for size in (GAIN_SIZE[kind] // 8, GAIN_SIZE[kind] // 4, GAIN_SIZE[kind] // 2):
        if (ratio := _ratio(size, kind)) < SLOW:
            return ratio
    return _ratio(GAIN_SIZE[kind], kind)


def _ratio(size: int, kind: str) -> float:
    """Compares the fastest products of both formats, measured alternately, so that other load affects both."""
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    for _ in range(REPETITIONS):
        for dtype in best:
            best[dtype] = min(best[dtype], _seconds(size, kind, dtype))
    return best[torch.float32] / best[torch.bfloat16]


@cache
def _peak(kind: str, dtype: torch.dtype, _threads: int, _tf32: bool) -> float:
    """Returns the best over sizes, doubled as long as a product, with eight times the work, stays cheap."""
    best = 0.0
    for size in SIZES:
        seconds = _seconds(size, kind, dtype)
        best = max(best, size**3 / seconds)
        if 8 * (TIMES + 1) * seconds > MAX_S:
            break
    if kind == "cuda":
        torch.cuda.empty_cache()  # others may share the device
    return best


def _seconds(size: int, kind: str, dtype: torch.dtype) -> float:
    """Returns the time of the fastest of TIMES products, after one that warms up."""
    generator = torch.Generator(kind).manual_seed(0)  # torch's global one is left as it is
    a, b = (torch.randn(size, size, generator=generator, device=kind, dtype=dtype) for _ in range(2))
    product = torch.empty_like(a)
    best = float("inf")
    for i in range(TIMES + 1):
        began = time.perf_counter()
        torch.mm(a, b, out=product)
        if kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began) if i else best
    return best
