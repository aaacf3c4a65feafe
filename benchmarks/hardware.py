"""What a measurement was made on: figures of two machines are not to be set beside each other."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

from pipeline.store.records import Record

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "amx_int8", "amx_tile")
PACKAGES = ("torch", "numpy", "torchvision", "ray", "dvc", "mlflow")


class Hardware(Record):
    """The machine and what is installed on it."""

    cpu: str
    flags: list[str]  # those of FLAGS that the CPU has
    cores: int  # that this process may use
    memory_gib: int
    torch_capability: str  # the instructions that torch chose
    fast_bf16: bool  # a large matrix product is half as fast again in bf16, as measured (resnet.peak): with AMX
    python: str
    versions: dict[str, str]

    def differs_from(self, other: "Hardware") -> list[str]:
        """The fields that differ, with both values."""
        pairs = ((name, getattr(other, name), getattr(self, name)) for name in type(self).model_fields)
        return [f"{name} {theirs} there, {mine} here" for name, theirs, mine in pairs if theirs != mine]


class Circumstances(Record):
    """When a benchmark was run, on which code, and how busy the machine was with other things."""

    date: str  # UTC
    commit: str | None
    load: float  # running processes, mean of the minute before
    bf16_over_fp32: float  # speed of a large matrix product, measured: above 1.5 our sides choose bf16 where they may


def here() -> Hardware:
    import torch

    from resnet.peak import fast_bf16

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    has = set(fields.get("flags", "").split())
    return Hardware(
        cpu=fields.get("model name", platform.processor()),
        flags=[flag for flag in FLAGS if flag in has],
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        torch_capability=torch.backends.cpu.get_cpu_capability(),
        fast_bf16=fast_bf16(torch.device("cpu")),
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in PACKAGES},
    )


def now(root: Path) -> Circumstances:
    import torch

    from pipeline.checkout import revision
    from resnet.peak import bf16_gain

    commit = revision(root)
    return Circumstances(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=None if commit is None else str(commit),
        load=round(os.getloadavg()[0], 2),
        bf16_over_fp32=round(bf16_gain(torch.device("cpu")), 2),
    )
