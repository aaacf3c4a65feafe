"""What each node computes with: GPUs as the machine, torch and Ray see them, bfloat16 as measured, a C++ compiler."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.checks.line import Line
from pipeline.checks.nodes import Node


@dataclass(frozen=True, slots=True)
class Devices:
    """Of one node."""

    files: int  # /dev/nvidia0 and so on
    torch_gpus: int
    kind: str  # the first GPU's name, or the CPU's
    bf16: bool  # large matrix products are at least 1.5 times as fast in it, on one thread or the first GPU
    lacking: str | None  # what compilation needs and the node has not


def look() -> Devices:
    """On a node. Ray hides all GPUs from a task that asks for none; here they are only counted and measured."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
        del os.environ["CUDA_VISIBLE_DEVICES"]
    import torch

    from pipeline.device import device_name
    from resnet.compiling import lacking
    from resnet.peak import fast_bf16

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device("cuda" if count else "cpu")
    files = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return Devices(files, count, device_name(device), fast_bf16(device), lacking())


def lines(node: Node, seen: Devices, *, compiling: bool) -> Iterator[Line]:
    """The doctor's, for one node; the compiler only where a recipe asks for it."""
    yield _gpus(node, seen)
    word = "faster" if seen.bf16 else "not faster"
    yield Line(f"bf16 on {node.name}", f"measured to be {word} than fp32 on {seen.kind}")
    if compiling:
        what = f"compiler on {node.name}"
        mend = "install it, or set train.compile: false"
        yield Line(what, f"lacks {seen.lacking}", mend) if seen.lacking else Line(what, "there")


def _gpus(node: Node, seen: Devices) -> Line:
    what = f"GPUs on {node.name}"
    text = f"torch sees {seen.torch_gpus}, Ray has {node.gpus:g}"
    if seen.torch_gpus < seen.files and not os.environ.get("CUDA_VISIBLE_DEVICES"):
        mend = "install a torch built for CUDA and a driver that is new enough for it"
        return Line(what, f"the machine has {seen.files}, {text}", mend)
    if seen.torch_gpus < node.gpus:
        return Line(
            what, text, "start Ray there with --num-gpus as torch sees them, or let its container have the GPUs"
        )
    if node.cpus and seen.torch_gpus and not node.gpus:
        return Line(what, text, "start Ray there without --num-gpus=0, where torch sees them too")
    return Line(what, text)
