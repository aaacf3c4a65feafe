"""The driver's side of the pulse: who gives no sign of life is looked at where it runs, and killed if it hangs.

Ray itself misses a process only when it has died. A stopped one keeps its place, and its run, for ever.
"""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.cluster.beats import Beat, Beats, Nodes, Report
from pipeline.cluster.hung import Finding, end_if_hung

POLL_S = 1.0  # between two questions to the actor
HUNG_S = 15.0  # without a sign of life, until the process is looked at: it is killed if none of its threads runs
BUSY_S = (
    120.0  # the same for a process that runs: it may compile, or load libraries, and keep the beating thread waiting
)
GAP_S = 8.0  # between two answers: the driver or the actor has been stopped, and has missed beats that were sent
ANSWER_S = 5.0  # at most, that is waited for what came of a look at a process that has just been lost


class Hung(Exception):
    """A process gave no sign of life, and was killed. Counts as a loss of the task."""


class NodeGone(Exception):
    """Ray has given up the node of a task that is still out. Counts as a loss of the task."""


@dataclass(slots=True)
class _Known:
    beat: Beat
    of: str  # the actor that told it
    heard: float  # time of the last news
    looked: float  # time of the last look at the process


@dataclass(slots=True)
class Silence:
    """Who has not been heard of for how long, in seconds of the driver's clock; has no clock of its own."""

    known: dict[str, _Known] = field(default_factory=dict)  # by token
    _told: float = 0.0  # time of the last report

    def take(self, report: Report, now: float) -> None:
        if now - self._told > GAP_S:
            for known in self.known.values():
                known.heard = now
        self._told = now
        for token, beat in report.beats.items():
            before = self.known.get(token)
            if before is None:
                self.known[token] = _Known(beat, report.of, now, now)
            elif before.beat.count != beat.count:
                before.beat, before.of, before.heard = beat, report.of, now
        # A new actor knows nobody yet; one that knew a task, and does not any more, has been told of its end.
        over = [t for t, known in self.known.items() if known.of == report.of and t not in report.beats]
        for token in over:
            del self.known[token]

    def hear(self, name: str, rank: int, now: float) -> None:
        for known in self.of(name):
            if known.beat.rank == rank:
                known.heard = now

    def forget(self, name: str) -> None:
        self.known = {token: known for token, known in self.known.items() if known.beat.name != name}

    def of(self, name: str) -> list[_Known]:
        return [known for known in self.known.values() if known.beat.name == name]

    def due(self, now: float) -> list[tuple[str, Beat, float]]:
        """Whose processes are to be looked at now, and how long they have been silent. Each is named once in HUNG_S."""
        found = []
        for token, known in self.known.items():
            if now - max(known.heard, known.looked) >= HUNG_S:
                known.looked = now
                found.append((token, known.beat, now - known.heard))
        return found


class Watch:
    """Over the tasks of a stage. `look` never waits; it is to be called at least once in a few seconds."""

    def __init__(self, beats: Any) -> None:
        self.beats = beats  # for `pulse.beating` in the workers
        self.nodes: Nodes | None = None  # of the cluster; None before they are known
        self._out: set[str] = set()
        self._silence = Silence()
        self._drained: dict[str, str] = {}  # nodes that are, or were
        self._question: Any = None
        self._ask_at = 0.0
        self._looks: dict[str, tuple[Beat, float, Any]] = {}  # by token
        self._hung: dict[str, Hung] = {}  # by task
        self._gone: dict[str, NodeGone] = {}  # by task

    def begin(self, name: str) -> None:
        """The task goes out."""
        self._out.add(name)

    def heard(self, name: str, rank: int = 0) -> None:
        """It has sent something."""
        self._silence.hear(name, rank, time.monotonic())

    def dismiss(self, name: str) -> None:
        """It has said that it leaves, and may go."""
        self.beats.dismiss.remote(name)

    def ask(self, name: str, why: str) -> None:
        """It is to leave its worker, and goes out again."""
        self.beats.ask.remote(name, why)

    def end(self, name: str) -> None:
        """It has ended, well or not; what is known of it is forgotten."""
        self._out.discard(name)
        self._hung.pop(name, None)
        self._gone.pop(name, None)
        self._silence.forget(name)
        self.beats.forget.remote(name)

    def lost(self, name: str, error: Exception) -> Exception:
        """Why the task was lost: `error`, or Hung where that was our doing. To be asked before `end`."""
        import ray

        looks = [(token, look) for token, (beat, _, look) in self._looks.items() if beat.name == name]
        if looks:
            ray.wait([look for _, look in looks], num_returns=len(looks), timeout=ANSWER_S)
            self._see()
        return self._hung.pop(name, error)

    def gone(self, name: str) -> NodeGone | None:
        """Where the task's node is dead to Ray, though the task has not failed yet."""
        return self._gone.get(name)

    def drained(self, name: str) -> str | None:
        """Address of a node under the task that is, or was, being drained. To be asked before `end`."""
        nodes = [known.beat.node for known in self._silence.of(name)]
        return next((self._drained[node] for node in nodes if node in self._drained), None)

    def waiting(self) -> list[str]:
        """Tasks that are out and run nowhere yet."""
        running = {known.beat.name for known in self._silence.known.values()}
        return sorted(self._out - running)

    def look(self) -> None:
        import ray
        from ray.exceptions import ActorDiedError, ActorUnavailableError

        now = time.monotonic()
        self._see()
        if self._question is not None and ray.wait([self._question], timeout=0)[0]:
            with contextlib.suppress(ActorDiedError, ActorUnavailableError):  # it is started anew
                self._take(ray.get(self._question), now)
            self._question, self._ask_at = None, now + POLL_S
        if self._question is None and now >= self._ask_at:
            self._question = self.beats.report.remote()

    def _take(self, report: Report, now: float) -> None:
        self.nodes = report.nodes or self.nodes
        self._drained |= report.nodes.draining if report.nodes else {}
        self._silence.take(report, now)
        for token, beat, silent_s in self._silence.due(now):
            if beat.name in self._out and token not in self._looks:
                self._looks[token] = beat, silent_s, _sent_to(beat, force=silent_s >= BUSY_S)

    def _see(self) -> None:
        """What came of the looks at silent processes."""
        import ray
        from ray.exceptions import RayError

        for token, (beat, silent_s, look) in list(self._looks.items()):
            if not ray.wait([look], timeout=0)[0]:
                continue
            del self._looks[token]
            finding: Finding = "runs"
            try:
                finding = ray.get(look)
            except RayError:
                # Ray fails a task of a dead node when a connection to it is closed: of one that is cut off, in minutes.
                if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == beat.node):
                    self._gone[beat.name] = NodeGone(f"its node has not answered for {silent_s:.0f} s, and is given up")
            if finding == "killed":
                rank = f"rank {beat.rank}, " if beat.rank else ""
                self._hung[beat.name] = Hung(f"{rank}process {beat.pid} gave no sign of life for {silent_s:.0f} s")
            if finding != "runs":
                self._silence.known.pop(token, None)


@contextmanager
def watching() -> Iterator[Watch]:
    """A Watch, with its actor on the driver's own node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    beats = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(Beats).remote()
    try:
        yield Watch(beats)
    finally:
        ray.kill(beats)


def _sent_to(beat: Beat, *, force: bool) -> Any:
    """A look at the process, on its node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(beat.node, soft=False)
    look: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(end_if_hung)
    return look.remote(beat.pid, beat.started, force)
