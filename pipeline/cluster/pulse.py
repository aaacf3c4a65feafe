"""Signs of life: a task tells the driver every two seconds that it lives, and hears whether it is to leave its node.

This is the worker's side; `watch`, beside this file, is the driver's, and `beats` the actor between the two:

    with watching() as watch:                                       # driver
        watch.begin(name)                                           # the task goes out, with watch.beats as an argument
        ...                                                         # watch.look() now and then, at least once a second
    with beating(beats, name, rank) as leave:                       # worker, round all that the task does
        for _ in train(...):
            if leave.is_set():                                      # between two iterations
                ...                                                 # writes a checkpoint
                leave.heeded = True
                yield Left(...)                                     # and ends
"""

import contextlib
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.cluster.beats import Beat
from pipeline.cluster.hung import started

BEAT_S = 2.0
FAREWELL_S = 5.0  # at most, that a process asked to end waits until the driver knows where its task stands
HASTE_S = 0.1  # between two beats meanwhile
LATER_S = 1.0  # after the end of a task that could not leave any more


class Leave(threading.Event):
    """Set when the task is asked to leave."""

    why = ""  # what it leaves, for people: `node 10.0.0.3, which is being drained`
    heeded = False  # the task has left, and says so to the driver; for the task to set

    def ask(self, why: str) -> None:
        self.why = self.why or why
        self.set()


@contextmanager
def beating(beats: Any, name: str, rank: int = 0, *, heeds: bool = False) -> Iterator[Leave]:
    """Beats from a thread for the length of the block; costs it neither its start nor its end.

    `beats` is the handle of a `Beats` actor. The Leave is set when the task's node is drained, or that of another rank
    of the same name. With `heeds`, in a process's main thread, also by SIGTERM: the block is then expected to end soon,
    and the process ends after it. Without, SIGTERM is left to Ray, which ends the process there and then.
    """
    leave = Leave()
    voice = _Voice(beats, name, rank, leave)
    threading.Thread(target=voice.speak, name="pulse", daemon=True).start()
    try:
        with _sigterm(leave, voice) if heeds and _in_main_thread() else contextlib.nullcontext():
            yield leave
    finally:
        voice.over.set()


def attended(work: bytes, beats: Any, name: str, heeds: bool = False) -> Iterator[Any]:
    """`function(job)`, or `function(job, leave=Leave)` where it heeds it, with a pulse.

    `work` is the pickled pair of both: so it beats already while it imports what they need, which takes seconds.
    """
    from ray import cloudpickle

    with beating(beats, name, heeds=heeds) as leave:
        function, job = cloudpickle.loads(work)
        yield from function(job, leave=leave) if heeds else function(job)


class _Voice:
    """The thread that beats."""

    def __init__(self, beats: Any, name: str, rank: int, leave: Leave) -> None:
        import ray

        node = ray.get_runtime_context().get_node_id()
        self.over, self.dismissed = threading.Event(), threading.Event()
        self._beats, self._leave, self._token = beats, leave, uuid.uuid4().hex
        self._who = (name, rank, node, os.getpid(), started(os.getpid()) or 0)

    def speak(self) -> None:
        from ray.exceptions import RayError

        count = 0
        while not self.over.is_set():
            count += 1
            with contextlib.suppress(RayError):  # the actor is started anew: the next beat finds it
                self._hear(self._beats.beat.remote(self._token, Beat(*self._who, count)))
            self.over.wait(HASTE_S if self._leave.is_set() else BEAT_S)
        with contextlib.suppress(RayError):
            self._beats.end.remote(self._token)

    def _hear(self, answer: Any) -> None:
        import ray

        if not ray.wait([answer], timeout=BEAT_S)[0]:
            return
        why, dismissed = ray.get(answer)
        if why:
            self._leave.ask(why)
        if dismissed:
            self.dismissed.set()


@contextmanager
def _sigterm(leave: Leave, voice: _Voice) -> Iterator[None]:
    """SIGTERM asks to leave first; the process ends by it after the block."""
    came = False

    def asked(*_: object) -> None:
        nonlocal came
        came = True
        leave.ask("its worker, which is asked to end")

    before = signal.signal(signal.SIGTERM, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if came and leave.heeded:
            # Ray sends events behind the generator's back: the last one has to arrive before the process is gone.
            voice.dismissed.wait(FAREWELL_S)
            signal.raise_signal(signal.SIGTERM)
        elif came:  # too late, the task was at its end: the process ends after it, or asks the next one to leave
            threading.Timer(LATER_S, os.kill, (os.getpid(), signal.SIGTERM)).start()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
