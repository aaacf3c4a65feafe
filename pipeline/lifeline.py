"""What makes a stage leave: SIGTERM, the end of the `dvc` that started it, the loss of what it cannot do without."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

_terminated = threading.Event()
_reasons: list[str] = []
_farewells: list[Callable[[], object]] = []


def terminated() -> bool:
    """Whether SIGTERM has come."""
    return _terminated.is_set()


def leave(reason: str) -> None:
    """From another thread: the main thread leaves as it does at SIGTERM. It may not hear it where it waits in C++."""
    _reasons.append(reason)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def reason() -> str | None:
    """Why the process has to leave, if it is for another reason than a signal."""
    return _reasons[0] if _reasons else None


@contextmanager
def farewell(say: Callable[[], object]) -> Iterator[None]:
    """For the length of the block: what is to be done first where the process is ended without its main thread."""
    _farewells.append(say)
    try:
        yield
    finally:
        _farewells.remove(say)


def say_farewell() -> None:
    for say in list(_farewells):
        say()


def _parent(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def _started_by() -> list[int]:
    """Process ids from our parent up to the `dvc` that started us; none without DVC or on a system without /proc."""
    if "DVC_STAGE" not in os.environ:
        return []
    chain: list[int] = []
    try:
        pid = os.getppid()
        while pid > 1:
            chain.append(pid)
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(Path(os.fsdecode(word)).name == "dvc" for word in words[:4]) or b"dvc" in words[1:4]:
                return chain
            pid = _parent(pid)
    except OSError:
        pass
    return []


def hold() -> None:
    """SIGTERM ends the stage as Ctrl-C does; the death of the `dvc` that started it counts as SIGTERM.

    KeyboardInterrupt is the one exception that Ray lets through from a signal handler. To be called again after Ray
    has been started or stopped, for it puts handlers of its own in place.
    """

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the way out is not to be cut short
        if not _reasons:
            _terminated.set()
        raise KeyboardInterrupt

    if not terminated() and not _reasons:
        signal.signal(signal.SIGTERM, terminate)
    _follow_dvc()


@cache
def _follow_dvc() -> None:
    _when_one_ends(_started_by(), lambda: os.kill(os.getpid(), signal.SIGTERM))


@cache
def end_with_parent() -> None:
    """A worker ends at once when the Ray node that started it has: else it would train on for seconds, for nobody."""
    _when_one_ends([os.getppid()], lambda: os._exit(1))


def _when_one_ends(pids: list[int], then: Callable[[], None]) -> None:
    if not pids or not hasattr(os, "pidfd_open"):  # not Linux
        return
    poll = select.poll()
    for pid in pids:
        try:
            poll.register(os.pidfd_open(pid), select.POLLIN)
        except OSError:  # gone already
            then()

    def watch() -> None:
        poll.poll()
        then()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
