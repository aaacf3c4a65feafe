"""The lease of an attempt on a run: lock, fencing token and heartbeat in one file, the same in a folder and a bucket.

A lease is a file lease-NNNNNN in the run's folder. It is created exclusively, and the highest number holds. A thread of
its holder rewrites it every RENEW_S seconds with the progress of the run, which the driver reads. It is free when its
holder has released it, has died on this machine, or has not renewed it for STALE_S seconds by the clock of the store.

A holder that was suspended or cut off may have lost its lease without knowing. So it calls `require` before each write
that counts. It may still be overtaken between that call and the write, which is harmless: a checkpoint has its
iteration in its name; the files of a result, of which run.json has the digests, are created, and replaced only after
one more `require`; and run.json, which makes a run finished, is written last and created, never replaced.
"""

import contextlib
import functools
import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from pipeline.storage import age_s, create, make_folder, storage_errors, write_bytes

log = logging.getLogger(__name__)
RENEW_S = 5.0
STALE_S = 20.0
PREFIX = "lease-"


class Busy(Exception):
    """Another process holds the lease."""


class Superseded(Exception):
    """A later attempt at the run has begun, so this one must end."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A lease as its holder wrote it."""

    token: str  # of this attempt alone
    pid: int
    started: float  # creation time of the process, in seconds since the epoch: process ids are reused
    machine: str  # boot id and host name: the same for processes that can see each other's process ids
    node: str = ""  # Ray's id of the node
    count: int = 0  # of renewals
    progress: dict[str, Any] = field(default_factory=dict)

    @property
    def has_died(self) -> bool:
        """Whether it was a process of this machine that no longer exists; False where that cannot be known here."""
        return self.machine == machine() and not same_process(self.pid, self.started)


class Lease:
    """A held lease. Made by `acquire`."""

    def __init__(self, path: Path, number: int, holder: Holder) -> None:
        self.path, self.number, self._holder = path, number, holder
        self._progress: dict[str, Any] = {}

    def update(self, **progress: Any) -> None:
        """Sets what the next renewal says about the progress of the run."""
        self._progress = progress

    def require(self) -> None:
        """Raises Superseded unless this lease is still the last one, and EnvironmentFault where that is not known."""
        with storage_errors(self.path.parent.parent):
            last = _all(self.path.parent)[-1:]
            held = [holder.token for holder in map(_read, last) if holder] == [self._holder.token]
        if not held:
            raise Superseded(f"attempt {self.number} was overtaken by another one; it writes nothing more")

    def keep(self, over: threading.Event) -> None:
        """Renews the lease until `over` is set."""
        while not over.wait(RENEW_S):
            self._holder = replace(self._holder, count=self._holder.count + 1, progress=self._progress)
            try:
                if self.path.exists():  # otherwise a later holder has removed it
                    write_bytes(self.path, _encoded(self._holder))
            except Exception as error:  # the next renewal may succeed; a holder that takes over has a higher number
                log.debug("%s is not renewed: %s", self.path, error)


@contextmanager
def acquire(folder: Path, node: str = "") -> Iterator[Lease]:
    """Holds the lease of a run's folder within the block. Raises Busy at once, and EnvironmentFault."""
    with storage_errors(folder.parent):
        lease = _take(folder, node)
    over = threading.Event()
    keeper = threading.Thread(target=lease.keep, args=(over,), name="lease", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        over.set()
        keeper.join(RENEW_S)
        with contextlib.suppress(Exception):  # it becomes stale by itself
            lease.require()
            lease.path.write_bytes(b"")  # on a full disk too; the empty file stays, so that numbers only grow


def read(folder: Path) -> Holder | None:
    """The holder of the last lease; None where there is none or it was released."""
    with storage_errors(folder.parent):
        leases = _all(folder)
        return _read(leases[-1]) if leases else None


def is_held(folder: Path) -> bool:
    """Whether a worker holds the lease of a run's folder now. Raises EnvironmentFault."""
    with storage_errors(folder.parent):
        leases = _all(folder)
        return bool(leases) and not _is_free(leases[-1])


def is_lease(path: Path) -> bool:
    """Whether the file belongs to a lease, not to the run."""
    return path.name.startswith(PREFIX)


@functools.cache
def machine() -> str:
    """Names this machine since it booted, and the namespace of its process ids."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def same_process(pid: int, started: float) -> bool:
    """Whether the process `pid` still is the one that was created at `started`; a zombie is not."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 0.5)
    except psutil.Error:
        return False


def _take(folder: Path, node: str) -> Lease:
    make_folder(folder)
    leases = _all(folder)
    if leases and not _is_free(leases[-1]):
        raise Busy
    number = int(leases[-1].name.removeprefix(PREFIX)) + 1 if leases else 1
    path = folder / f"{PREFIX}{number:06d}"
    process = psutil.Process()
    holder = Holder(secrets.token_hex(16), process.pid, process.create_time(), machine(), node)
    if not create(path, _encoded(holder)):
        raise Busy
    for old in leases:
        for left in (old, *folder.glob(f".{old.name}.*.tmp")):  # a renewal that a kill interrupted
            with contextlib.suppress(FileNotFoundError):
                left.unlink(missing_ok=True)
    return Lease(path, number, holder)


def _is_free(path: Path) -> bool:
    try:
        holder = _read(path)
        return holder is None or holder.has_died or age_s(path) > STALE_S
    except FileNotFoundError:  # taken over at this moment
        return False


def _read(path: Path) -> Holder | None:
    """None for a released lease, or one that is taken over at this moment."""
    try:
        content = path.read_bytes()
        return Holder(**json.loads(content)) if content else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # cut short by a kill, where the file system has no links: it becomes stale
        return Holder(token="", pid=0, started=0.0, machine="")


def _encoded(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*"))
