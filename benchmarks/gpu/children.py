"""Measurements in processes of their own: one may be ended when its time is over, and what it breaks is its own alone.

The processes are forks of a server that has imported torch but never looked for a GPU, so that each of them can use it.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from benchmarks.gpu.plan import Outcome, Section, carried_out
from benchmarks.gpu.rows import LeftOut
from benchmarks.gpu.sizes import Sizes

GRACE = 0.1  # of a section's time is kept for the measurement during which it ends
MAX_GRACE_S = 10.0
CLOSING_S = 5.0  # for a process that has told everything

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["torch", "torch._dynamo"])


def measured(module: str, device: torch.device, sizes: Sizes, seconds: float) -> Iterator[Outcome]:
    """What the module's `section` measures; every planned measurement is told of, made or left out."""
    ends = time.monotonic() + seconds
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_section, args=(module, device, sizes, ends - min(GRACE * seconds, MAX_GRACE_S), sender)
    )
    process.start()
    sender.close()
    waiting, why, failed = [module.rpartition(".")[2]], "cut off: no time was left", False
    try:
        while waiting and receiver.poll(max(0.0, ends - time.monotonic())):
            told = receiver.recv()
            if isinstance(told, Outcome):
                waiting.remove(told.name)
                yield told
            else:
                waiting = told
    except EOFError:
        process.join()
        why, failed = f"its process ended with exit code {process.exitcode}", True
    finally:
        end(process, patience_s=0.0 if waiting else CLOSING_S)
    for name in waiting:
        yield Outcome(name, left_out=LeftOut(name, why, failed))


def _section(module: str, device: torch.device, sizes: Sizes, ends: float, told: Connection) -> None:
    end_with_parent()
    section: Section = import_module(module).section
    measurements = section(device, sizes)
    told.send([measurement.name for measurement in measurements])
    for outcome in carried_out(measurements, ends):
        told.send(outcome)


def end(process: BaseProcess, patience_s: float) -> None:
    """Lets it put away what it has, for a while."""
    process.join(patience_s)
    process.kill()
    process.join()


def end_with_parent() -> None:
    """No process outlives the one that started it, however that one ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
