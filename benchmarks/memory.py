"""Resident memory of a process and of those that it started."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_S = 0.05  # looks at the descendants while it watches


class Memory:
    """The largest resident memory of this process, to the page, plus the largest sum of its descendants' that was seen.

    Each descendant counts with its own largest; pages that processes share count once for each of them.
    """

    def __init__(self) -> None:
        self._descendants_mib = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Sees also descendants that end before the block does. It takes time: not for a block that is timed."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(EVERY_S):
                self._look()

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def peak_mib(self) -> float:
        self._look()
        return high_water_mib(os.getpid()) + self._descendants_mib

    def _look(self) -> None:
        self._descendants_mib = max(self._descendants_mib, sum(map(high_water_mib, descendants(os.getpid()))))


def high_water_mib(pid: int) -> float:
    """0 where the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10 if "VmHWM:" in status else 0.0  # a zombie has none


def descendants(pid: int) -> list[int]:
    """Processes that `pid` started, those that they started, and so on."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])  # the name before it may hold brackets
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]
