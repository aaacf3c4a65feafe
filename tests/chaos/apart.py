"""Work in a process of its own: what it does to itself, its mounts among it, is gone with it."""

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tests.chaos.log import Log

M = TypeVar("M")
PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def apart(work: Callable[[], Any]) -> Any:
    """What `work` returns, by way of JSON. A fork: what was imported is there. Raises AssertionError where it fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as answer:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                json.dump(work(), answer)
                code = 0
            except BaseException:
                traceback.print_exc(file=answer)
            finally:
                answer.flush()
                os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answer.seek(0)
        assert ended == 0, f"the process that plays the faults ended with {ended}: {answer.read()}"
        return json.load(answer)


@dataclass(frozen=True, slots=True)
class Part(Generic[M]):
    """`count` faults, of all these kinds in turn. A mutation breaks what they meet: then one difference is enough."""

    log: Log
    count: int
    kinds: tuple[str, ...]
    mutation: M | None = None


def play_apart(parts: Sequence[Part[M]], play_all: Callable[[Sequence[Part[M]]], None]) -> None:
    """All parts in one process of their own; their logs have then what was done and what was wrong."""

    def work() -> list[tuple[dict[str, int], list[str]]]:
        play_all(parts)
        return [(dict(part.log.done), part.log.wrong) for part in parts]

    for part, (done, wrong) in zip(parts, apart(work), strict=True):
        part.log.done.update(done)
        part.log.wrong += wrong
