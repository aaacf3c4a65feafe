"""Ranks for the tests of data-parallel training: processes over gloo, and one without its group."""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from resnet.distributed import TorchProcessGroup

PATIENCE_S = 300.0  # bound on a script that waits indefinitely; no outcome of a sound one depends on it


def processes(size: int, script: Callable[[TorchProcessGroup], Any], folder: Path) -> list[Any]:
    """What `script` returns in each of `size` processes, by rank."""
    context = multiprocessing.get_context("forkserver")  # imports torch once for all workers
    context.set_forkserver_preload(["torch", "tests.factories.tiny_run"])
    members = [context.Process(target=_worker, args=(rank, size, script, folder)) for rank in range(size)]
    for member in members:
        member.start()
    deadline = time.monotonic() + PATIENCE_S
    while any(member.is_alive() for member in members) and not any(member.exitcode for member in members):
        if time.monotonic() > deadline:
            break
        wait([member.sentinel for member in members if member.is_alive()], timeout=1.0)
    for member in members:
        member.kill()
        member.join()
    wrong = "\n".join(path.read_text() for path in sorted(folder.glob("error-*")))
    assert all(member.exitcode == 0 for member in members), wrong
    return [torch.load(folder / f"result-{rank}", weights_only=False) for rank in range(size)]


def _worker(rank: int, size: int, script: Callable[[TorchProcessGroup], Any], folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
        torch.save(script(TorchProcessGroup.of_this_process()), folder / f"result-{rank}")
        dist.destroy_process_group()
    except BaseException:
        (folder / f"error-{rank}").write_text(traceback.format_exc())
        raise


@dataclass(frozen=True)
class Rank:
    """A rank without its group."""

    rank: int
    size: int

    def sum_(self, tensor: Tensor) -> None:
        raise AssertionError("nothing is summed here")

    def broadcast_(self, tensor: Tensor) -> None:
        raise AssertionError("nothing is sent here")
