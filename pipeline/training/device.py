"""This process for one run: its threads, its device, its memory, and what they are called."""

import contextlib
import ctypes
import platform
from pathlib import Path

import numpy as np
import torch

from pipeline import lifeline
from resnet.peak import fast_bf16
from resnet.precision import set_arithmetic
from resnet.recipe import Precision

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
SMALL = 32  # pixels a side; below it the arithmetic is too small a part of the time
LARGEST_KEPT = 32 << 20  # bytes; glibc takes no larger threshold


def set_up(cpus: int, gpus: float) -> torch.device:
    """This process for one run: its threads, its device, and arithmetic that repeats itself."""
    lifeline.end_with_parent()
    torch.set_num_threads(cpus)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    set_arithmetic("fp32")  # until a recipe, or a protocol, asks for less
    if gpus > 0:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        return torch.device("cuda")
    return torch.device("cpu")


def keep_freed_memory() -> None:
    """Has glibc keep what tensors leave behind for the next ones, in place of returning it to the system page by page.

    An iteration frees and takes the same megabytes again; taking them anew costs a page fault for every 4 KiB, a few
    per cent of the time of a CIFAR network on a CPU. Other C libraries have their own ways, and are left alone.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def advice(device: torch.device, precision: Precision, size: int) -> str:
    """What would make a run on images of `size` pixels a side faster here, as measured; empty where nothing would."""
    if device.type != "cpu":
        return ""
    if precision == "bf16" and not fast_bf16(device):
        return "bf16 is not faster than fp32 on this CPU: precision: fp32 is exacter and as fast"
    if precision == "fp32" and size >= SMALL and fast_bf16(device):
        return "this CPU is faster in bf16: precision: bf16, for all networks alike, would take less time"
    return ""


def forget_peak_mib(device: torch.device) -> None:
    """The peak of memory is from now on that of this run, not of what the process did before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak is then the process's own
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
