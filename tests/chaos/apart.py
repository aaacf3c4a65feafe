"""Work in a process of its own: what it does to itself, its mounts among it, is gone with it."""

import ctypes
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from tests.chaos.log import Log

M = TypeVar("M")
PR_SET_PDEATHSIG = 1  # of sys/prctl.h


@dataclass(frozen=True, slots=True)
class Part(Generic[M]):
    """`count` faults, of all these kinds in turn where some are named, else as they are drawn.

    A mutation breaks what they meet: then one difference is enough.
    """

    log: Log
    count: int
    kinds: tuple[str, ...] = ()
    mutation: M | None = None


def play_apart(parts: Sequence[Part[M]], play_all: Callable[[Sequence[Part[M]]], None]) -> None:
    """All parts in one process of their own; their logs have then what was done and what was wrong.

    A new process, and no fork of this one: what is played forks, and torch refuses autograd in the forks of a process
    in which it has once had threads for it.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_end_with_parent) as process:
        logs = process.submit(_played, parts, play_all).result()
    for part, log in zip(parts, logs, strict=True):
        part.log.done.update(log.done)
        part.log.wrong += log.wrong


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _played(parts: Sequence[Part[M]], play_all: Callable[[Sequence[Part[M]]], None]) -> list[Log]:
    play_all(parts)
    return [part.log for part in parts]
