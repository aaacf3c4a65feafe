"""A disk that can be made full."""

import ctypes
import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.log import Log

FORCE = "CHAOS_DISK"  # set to `limit` to have the second form where the first would do
CLONE_NEWNS = 0x00020000  # of sched.h
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18  # of sys/mount.h
EACH = 8  # a limit gives every file this part of what a disk gives all of them
HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
PAGE = 4096  # bytes, in which a file system in memory is filled


class Disk:
    """A file system in memory, for this process and its children alone: to be used within `apart`.

    Where it may not be mounted, a limit on how long files become (RLIMIT_FSIZE) of the processes named, and of those
    that call `bind`: then a write fails with "File too large" in place of "No space left on device".
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.how = "tmpfs" if os.environ.get(FORCE) != "limit" and _mount(folder, size) else "RLIMIT_FSIZE"
        self._filler, self._limit = folder / ".filler", HARD
        self._limited: list[int] = []

    def leave(self, free: int, pids: Iterable[int] = ()) -> None:
        """No more than so many bytes, in whole pages; with a limit, no file longer than a part of that."""
        if self.how == "tmpfs":
            while not self._fill(free):  # something else has just taken a part of it
                pass
            return
        self._limit, self._limited = free // EACH, list(pids)
        self._set()

    def _fill(self, free: int) -> bool:
        with self._filler.open("wb") as file:
            stat = os.statvfs(self.folder)
            taken = stat.f_bavail * stat.f_frsize - free // PAGE * PAGE
            with suppress(OSError):
                if taken > 0:
                    os.posix_fallocate(file.fileno(), 0, taken)
                return True
        return False

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)
        self._limit = HARD
        self._set()
        self._limited = []

    def bind(self) -> None:
        """For a child, before it works."""
        if self.how != "tmpfs":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit, HARD))

    def _set(self) -> None:
        for pid in self._limited:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (self._limit, HARD))


def _mount(folder: Path, size: int) -> bool:
    libc = ctypes.CDLL(None)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        return False
    return not libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode())


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """Unmounted at the end, where this process goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Disk(folder, size)
    try:
        yield made
    finally:
        if made.how == "tmpfs":
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def pages(folder: Path) -> int:
    """Bytes that the files below take in whole pages."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


@dataclass(slots=True)
class Scene:
    """What every turn needs. The working folder is on the disk that becomes full."""

    full: Disk
    elsewhere: Path  # a folder on another one
    draw: random.Random
    log: Log
    mutate: Callable[[], Any] | None = None  # breaks the code, in a child

    def first(self) -> None:
        """In the child that shall meet the full disk."""
        self.full.bind()
        if self.mutate is not None:
            self.mutate()
