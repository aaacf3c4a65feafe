"""One program of a benchmark in a process of its own: python -m benchmarks.worker_process MODULE:FUNCTION OPTIONS

Answers on standard output, one line of JSON each: {} when it is set up, then to every line on standard input the
seconds for one unit of work and the peak memory so far. The first call warms up, and is watched for the memory of the
processes that it starts. Ends when standard input ends.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO

from benchmarks.harness import Work

WATCH_EVERY_S = 0.05


class Memory:
    """The largest memory that was seen of this process and its descendants."""

    def __init__(self) -> None:
        self._peak_mib = 0.0

    def watch(self, over: threading.Event) -> None:
        """Looks until `over` is set, so that descendants are seen that end earlier. Not while a call is timed."""
        while not over.wait(WATCH_EVERY_S):
            self.peak_mib()

    def peak_mib(self) -> float:
        """Returns resident memory, or that of tensors on a GPU where this process uses one."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            return float(torch.cuda.max_memory_allocated() / 2**20)
        self._peak_mib = max(self._peak_mib, resident_mib(os.getpid()))
        return self._peak_mib


def resident_mib(pid: int) -> float:
    """Returns the sum of the peaks of a process and its descendants; pages that they share count for each of them."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it has ended
        return 0.0
    own = int(status.split("VmHWM:")[1].split()[0]) / 2**10 if "VmHWM:" in status else 0.0  # a zombie has none
    return own + sum(resident_mib(int(child)) for children in lists for child in children.split())


def main(name: str, options: str) -> None:
    requests, answers = _take_standard_streams()
    module, _, function = name.partition(":")
    work: Work = getattr(importlib.import_module(module), function)(**json.loads(options))
    memory, warm = Memory(), threading.Event()
    threading.Thread(target=memory.watch, args=(warm,), daemon=True).start()
    print("{}", file=answers, flush=True)
    for _ in requests:
        began = time.perf_counter()
        own_s = work.call()
        seconds = time.perf_counter() - began if own_s is None else own_s
        warm.set()
        answer = {"seconds": seconds / work.amount, "peak_mib": memory.peak_mib()}
        print(json.dumps(answer), file=answers, flush=True)


def _take_standard_streams() -> tuple[IO[str], IO[str]]:
    """Reserves standard input and output for this protocol: what a program, or a process that it starts, prints is
    sent to standard error, and neither can read a request."""
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, answers


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches all processes; the parent says so
        main(*sys.argv[1:])
