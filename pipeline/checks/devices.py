"""What each node computes with: GPUs as the machine, torch and Ray see them, bfloat16 as measured, a C++ compiler."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.checks.line import Line
from pipeline.checks.nodes import Node

ALL = 10**6


@dataclass(frozen=True, slots=True)
class Devices:
    """Of one node."""

    files: int  # /dev/nvidia0 and so on, at most as many as CUDA_VISIBLE_DEVICES names
    torch_gpus: int
    kind: str  # the first GPU's name, or the CPU's
    bf16: bool | None  # large matrix products are at least 1.5 times as fast in it; None where there was no room
    lacking: str | None  # what compilation needs and the node has not


def look() -> Devices:
    """On a node."""
    import torch

    from pipeline.training.device import device_name
    from resnet.compiling import lacking
    from resnet.peak import fast_bf16

    with _unhidden() as visible:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        files = len(list(Path("/dev").glob("nvidia[0-9]*")))
        device = torch.device("cuda" if count else "cpu")
        try:
            bf16 = fast_bf16(device)
        except torch.OutOfMemoryError:  # others use the GPU
            bf16 = None
        return Devices(min(files, visible), count, device_name(device), bf16, lacking())


@contextmanager
def _unhidden() -> Iterator[int]:
    """Ray hides all GPUs from a task that asks for none; for the length of the block those of the node are seen.

    Yields how many of them the node's owner lets be seen.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    try:
        yield len(named.split(",")) if named else ALL
    finally:
        if named == "":
            os.environ["CUDA_VISIBLE_DEVICES"] = named


def lines(node: Node, seen: Devices, *, compiling: bool) -> Iterator[Line]:
    """The doctor's, for one node; the compiler only where a recipe asks for it."""
    yield _gpus(node, seen)
    word: dict[bool | None, str] = {
        True: "measured to be faster than fp32",
        False: "measured to be not faster than fp32",
    }
    yield Line(f"bf16 on {node.name}", f"{word.get(seen.bf16, 'not measured, for want of memory,')} on {seen.kind}")
    if compiling:
        what = f"compiler on {node.name}"
        mend = "install it, or set train.compile: false"
        yield Line(what, f"lacks {seen.lacking}", mend) if seen.lacking else Line(what, "there")


def _gpus(node: Node, seen: Devices) -> Line:
    what = f"GPUs on {node.name}"
    text = f"torch sees {seen.torch_gpus}, Ray has {node.gpus:g}"
    if seen.torch_gpus < seen.files:
        mend = "install a torch built for CUDA and a driver that is new enough for it"
        return Line(what, f"the machine has {seen.files}, {text}", mend)
    if seen.torch_gpus < node.gpus:
        return Line(
            what, text, "start Ray there with --num-gpus as torch sees them, or let its container have the GPUs"
        )
    if node.cpus and seen.torch_gpus and not node.gpus:
        return Line(what, text, "start Ray there without --num-gpus=0, where torch sees them too")
    return Line(what, text)
