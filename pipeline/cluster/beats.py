"""What lies between workers and driver: an actor that keeps the last beat of each task, events of data-parallel runs
until they are collected, and looks at the nodes.
"""

import contextlib
import threading
import time
import uuid
from dataclasses import dataclass

NODES_S = 3.0  # between two looks at the cluster's nodes


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


class Beats:
    """The actor. On the driver's node, with `num_cpus=0`; it outlives its own process, with an empty memory."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._beats: dict[str, Beat] = {}
        self._dismissed: set[str] = set()
        self._asked: dict[str, str] = {}  # tasks that are to leave, and why
        self._boxes: dict[str, list[bytes]] = {}
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

    def post(self, box: str, event: bytes) -> None:
        """An event of an attempt, which has a box of its own. Nothing is unpickled here."""
        self._boxes.setdefault(box, []).append(event)

    def collect(self, box: str) -> list[bytes]:
        """The events since the last call, in order."""
        return self._boxes.pop(box, [])

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
