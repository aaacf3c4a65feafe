"""A network's forward and backward pass compiled by torch: batch normalisation, ReLU and addition in one pass each."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from resnet.network import Network

OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {
    # left to itself, Inductor takes a backward pass for one without convolutions, and copies to NCHW (pytorch#189239)
    "force_layout_optimization": True,
    "fallback_random": True,  # dropout draws what it draws without compilation
}


def compiled(network: Network, *, backend: str = "inductor") -> Callable[[Tensor], Tensor]:
    """The same function of the same parameters up to rounding, made at its first call: tens of seconds on a CPU."""
    options = OPTIONS if backend == "inductor" else None
    return torch.compile(network, backend=backend, dynamic=False, options=options)


def lacking() -> str | None:
    """What compilation for a CPU needs and this machine has not."""
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if not any(shutil.which(name) for name in compilers):
        return f"a C++ compiler ({' or '.join(compilers)}) on PATH"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return f"Python's header files (Python.h in {sysconfig.get_path('include')})"
    return None
