"""What a measurement was made on. Needs only torch, because a machine with a GPU may have nothing else installed."""

import datetime
import os
import platform
import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.harness import ROOT
from pipeline.git_revision import revision

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "amx_int8", "amx_tile")
PACKAGES = ("torch", "numpy", "torchvision", "ray", "dvc", "mlflow", "triton")


def cpu() -> tuple[str, str]:
    """Returns the kind of this machine as part of a file name, and a phrase with all that decides its speed."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = [flag for flag in FLAGS if flag in fields.get("flags", "").split()]
    model = fields.get("model name", platform.processor())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    used = torch.backends.cpu.get_cpu_capability()
    widest = "amx" if "amx_bf16" in flags else used
    return (
        slug(f"{cores} cores {model} {widest}"),
        f"{cores} cores of {model} ({', '.join(flags)}; torch uses {used}), {memory:.0f} GiB",
    )


def gpu() -> tuple[str, str]:
    """Returns the same of the first GPU."""
    device = torch.cuda.get_device_properties(0)
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return slug(device.name), (
        f"{device.name} (capability {device.major}.{device.minor}, {device.multi_processor_count} multiprocessors, "
        f"{device.total_memory / 2**30:.0f} GiB; CUDA {torch.version.cuda}, cuDNN {cudnn}), {cpu()[1]}"
    )


def now(description: str) -> dict[str, str]:
    """Describes a measurement that begins now: machine, versions, day, commit, and how busy the machine is."""
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES if find_spec(name)]
    return {
        "machine": description,
        "versions": f"Python {platform.python_version()}, {', '.join(versions)}",
        "date": f"{datetime.datetime.now(datetime.UTC).date()}",
        "commit": f"commit {revision(ROOT)}",
        "load": f"load average {os.getloadavg()[0]:.1f} at the start",
    }


def slug(text: str) -> str:
    """Returns lower-case words joined by hyphens, without trade marks and the clock rate."""
    text = re.sub(r"\((r|tm)\)|@.*?ghz|\b(cpu|processor)\b", " ", text.lower())
    return "-".join(re.findall(r"[a-z0-9]+", text))
