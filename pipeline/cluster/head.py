"""The head of a cluster is asked every two seconds; where it answers no more, the process leaves, and says so.

Ray would wait for a minute, and then end the process out of its C++, with an exit code and words of its own.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline import errors, lifeline

Answers = Callable[[], bool]

EVERY_S = 2.0
ATTEMPTS = 9  # in a row without an answer: a head under load may stall for some seconds
GRACE_S = 10.0  # for the main thread to leave by itself: waiting inside of Ray's C++ it may hear nothing
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # a client's, with empty settings
_asked: list[Answers] = []


def greets(address: str) -> bool:
    """Whether a gRPC server at HOST:PORT greets us; one that wants TLS says so, which is an answer too.

    To be connected is not enough: a kernel does it for a process that hangs.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=EVERY_S) as line:
            line.sendall(GREETING)
            return bool(line.recv(1))
    except OSError:
        return False


def session(address: str) -> bytes | None:
    """The name that the GCS at HOST:PORT has given its session, another one each time that a head is started."""
    import ray._raylet

    rays: Any = ray._raylet  # without types
    try:
        name = rays.GcsClient(address=address).internal_kv_get(b"session_name", b"session", timeout=2 * EVERY_S)
    except Exception:  # of several kinds, none of which is an answer
        return None
    return bytes(name) if name else None


class Gcs:
    """The GCS that is at HOST:PORT now, to be asked whether it is there still."""

    def __init__(self, address: str) -> None:
        self.address, self._session = address, session(address)
        self._missed = False

    def answers(self) -> bool:
        """After a silence it may be another one, which knows nothing of us."""
        well = greets(self.address)
        if well and (self._missed or self._session is None):
            now = session(self.address)
            well = now == self._session or self._session is None
            self._session = self._session or now
        self._missed = not well
        return well


@contextmanager
def watched(answers: Answers, lost: str) -> Iterator[None]:
    """For the length of the block. `answers` comes back within seconds; `lost` is said at the end."""
    over = threading.Event()
    _asked.append(answers)
    threading.Thread(target=_watch, args=(answers, lost, over), name="head", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        _asked.remove(answers)


def settle() -> None:
    """After an error that may be the first that is felt of a lost head: returns when it answers, and only then."""
    for answers in list(_asked):
        while not answers():
            time.sleep(EVERY_S / 10)


def _watch(answers: Answers, lost: str, over: threading.Event) -> None:
    missed = 0  # counted, not timed: a process that was stopped for a while has missed one answer, not many
    while missed < ATTEMPTS:
        began = time.monotonic()
        missed = 0 if answers() else missed + 1
        if over.wait(max(0.0, EVERY_S - (time.monotonic() - began))):
            return
    lifeline.leave(lost)
    time.sleep(GRACE_S)
    lifeline.say_farewell()
    errors.end_lost(lost)
