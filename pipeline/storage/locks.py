"""One worker a run: flock in a folder, a lease in a bucket.

The kernel frees a dead process's flock. Nobody frees its lease, so a lease has to be renewed, and the first who finds
that its holder is gone takes it over. A lease is an object lease-NNNNNN that is created where there is none of that
name; the highest number holds, so that of several takers one has it. Its age is the difference of two times of the
object store's own: clocks of ours decide nothing. Neither kind keeps out a holder that has lost its lock without
knowing, which is what `pipeline.storage.attempts` is for.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.storage.paths import create, is_remote, write_bytes

log = logging.getLogger(__name__)
RENEW_S = 5.0
STALE_S = 20.0  # without being renewed, after which a lease is free


class Busy(Exception):
    """Another process trains this key now."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Alone with the folder, or Busy at once."""
    with _lease(folder) if is_remote(folder) else _flock(folder):
        yield


@contextmanager
def _flock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield


def is_lock(path: Path) -> bool:
    """Whether the file belongs to the lock, not to the run."""
    return path.name == "lock" or path.name.startswith("lease-")


@contextmanager
def _lease(folder: Path) -> Iterator[None]:
    path, over = _take(folder), threading.Event()
    keeper = threading.Thread(target=_keep, args=(path, over), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        with contextlib.suppress(Exception):  # it grows stale by itself
            write_bytes(path, b"")  # free; it stays, so that numbers only grow


def _keep(path: Path, over: threading.Event) -> None:
    while not over.wait(RENEW_S):
        try:
            write_bytes(path, _holder())
        except Exception as error:  # another try follows; whoever takes the lease over meanwhile has a later attempt
            log.debug("%s is not renewed: %s", path, error)


def _take(folder: Path) -> Path:
    leases = sorted(folder.glob("lease-*"))
    if leases and not _is_free(leases[-1]):
        raise Busy
    number = int(leases[-1].name.partition("-")[2]) + 1 if leases else 1
    path = folder / f"lease-{number:06d}"
    if not create(path, _holder()):
        raise Busy
    for old in leases:
        with contextlib.suppress(FileNotFoundError):
            old.unlink(missing_ok=True)
    return path


def _is_free(path: Any) -> bool:
    """Whether its holder has let go of it, has died on this machine, or has not renewed it for long."""
    try:
        holder = path.read_bytes()
        return not holder or _has_died(holder.decode()) or _age_s(path) > STALE_S
    except FileNotFoundError:  # taken over at this moment
        return False


def _age_s(path: Any) -> float:
    """Seconds since the object was written, by the object store's own times."""
    now = path.with_name(f".now-{secrets.token_hex(8)}")
    write_bytes(now, b"")
    try:
        return float((now.fs.modified(now.path) - path.fs.modified(path.path)).total_seconds())
    finally:
        now.unlink(missing_ok=True)


def _holder() -> bytes:
    """This process, as others on the same machine can tell it: process id, its start, the machine since it booted."""
    return f"{os.getpid()} {_start(os.getpid())} {_machine()}".encode()


def _has_died(holder: str) -> bool:
    """Whether it was a process of this machine that is no more; False where that cannot be told from here."""
    pid, start, machine = holder.split(maxsplit=2)
    return bool(machine) and machine == _machine() and _start(int(pid)) != start


def _start(pid: int) -> str:
    """When the process began, in ticks since boot; - where there is none (a zombie is none any more)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if state == "Z" else fields[18]


def _machine() -> str:
    """Boot id and namespace of process ids; empty where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
