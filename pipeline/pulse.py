"""Signs of life: a task tells the driver every two seconds that it lives, and hears whether it is to leave its node.

This is the worker's side, and `Beats`, the actor between the two; `pipeline.watch` is the driver's side:

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
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.hung import started

BEAT_S = 2.0
FAREWELL_S = 5.0  # at most, that a process asked to end waits until the driver knows where its task stands
HASTE_S = 0.1  # between two beats meanwhile
LATER_S = 1.0  # after the end of a task that could not leave any more
NODES_S = 2.0  # between two looks at the cluster's nodes


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker says; Ray carries it."""

    name: str  # of the task
    rank: int
    node: str  # Ray's id of the node
    pid: int
    started: int  # of the process, in clock ticks since the node's start; 0 where there is no /proc
    count: int  # of this beat and those before


@dataclass(frozen=True, slots=True)
class Nodes:
    """The cluster as it is now."""

    each: tuple[tuple[float, float], ...]  # CPUs and GPUs of each node that takes work
    free: tuple[tuple[float, float], ...]  # of them, what nobody has, node by node
    draining: dict[str, str]  # Ray's ids of nodes that take no more, and are soon gone -> their addresses


@dataclass(frozen=True, slots=True)
class Report:
    """All that the driver wants to know, in one answer."""

    of: str  # the actor's; another one after it has been started anew, and then has forgotten all
    beats: dict[str, Beat]  # by the task's token, the last of each
    nodes: Nodes | None  # None before the first look


class Leave(threading.Event):
    """Set when the task is asked to leave."""

    why = ""  # what it leaves, for people: `node 10.0.0.3, which is being drained`
    heeded = False  # the task has left, and says so to the driver; for the task to set

    def ask(self, why: str) -> None:
        self.why = self.why or why
        self.set()


class Beats:
    """The actor. On the driver's node, with `num_cpus=0`; it outlives its own process, with an empty memory."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._beats: dict[str, Beat] = {}
        self._dismissed: set[str] = set()
        self._asked: dict[str, str] = {}  # tasks that are to leave, and why
        self._nodes: Nodes | None = None
        threading.Thread(target=self._look_at_nodes, name="nodes", daemon=True).start()

    def beat(self, token: str, beat: Beat) -> tuple[str, bool]:
        """Why the task is to leave, or ""; and whether the driver knows that it has."""
        self._beats[token] = beat
        draining = self._nodes.draining if self._nodes else {}
        # A run on several workers leaves as a whole when one of their nodes is drained.
        nodes = [other.node for other in self._beats.values() if other.name == beat.name]
        why = next((f"node {draining[node]}, which is being drained" for node in nodes if node in draining), "")
        why = why or self._asked.get(beat.name, "")
        return why, beat.name in self._dismissed

    def end(self, token: str) -> None:
        self._beats.pop(token, None)

    def forget(self, name: str) -> None:
        """The driver has done with the task, or with this attempt at it."""
        self._dismissed.discard(name)
        self._asked.pop(name, None)
        self._beats = {token: beat for token, beat in self._beats.items() if beat.name != name}

    def dismiss(self, name: str) -> None:
        self._dismissed.add(name)

    def ask(self, name: str, why: str) -> None:
        """The task is to leave what it has, for people: `its 2 workers for 4, for which there are places now`."""
        self._asked[name] = why

    def report(self) -> Report:
        return Report(self._id, dict(self._beats), self._nodes)

    def _look_at_nodes(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # Ray's head does not answer: what was seen last stands
                self._nodes = nodes_now()
            time.sleep(NODES_S)


def nodes_now() -> Nodes:
    """As Ray's head sees them. For a process that is connected."""
    import ray

    draining: dict[str, int] = ray._private.state.state.get_draining_nodes()  # no public call tells; Ray Train's too
    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    available = ray._private.state.available_resources_per_node()
    each = {key: node["Resources"] for key, node in alive.items() if key not in draining}
    return Nodes(
        tuple((has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in each.values()),
        tuple((has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in (available.get(key, {}) for key in each)),
        {key: alive[key]["NodeManagerAddress"] for key in draining if key in alive},
    )


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
