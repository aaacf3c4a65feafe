"""A stage that trains on a cluster while things go wrong there: who trains what, and how it ended."""

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import ledger
from tests.cluster.nodes import Node
from tests.kills import Attempt, Watched, attempts
from tests.workspace import PATIENCE_S, Workspace

LOOK_S = 0.05
LONGEST_S = 1.0  # from a checkpoint to the next fault
GONE_S = 40.0  # after the end of a stage, within which its workers must have ended
LOST = "lost its worker"


@dataclass(slots=True)
class Stage:
    workspace: Workspace
    names: dict[str, str]  # key of every run -> its name
    watched: Watched
    tended: Callable[
        [], list[Node]
    ]  # the nodes that are up; to be called often, for it starts those that may come back
    before: list[str] = field(default_factory=list)  # what earlier drivers of the same checkout said
    nodes: list[Node] = field(default_factory=list)  # that were up when it was looked at last
    first_checkpoint: dict[Attempt, str] = field(default_factory=dict)  # of every attempt that was seen: when it was
    births: dict[int, str] = field(default_factory=dict)  # of their processes, for another may get the same id
    struck: set[Attempt] = field(default_factory=set)
    fatal: Counter[str] = field(default_factory=Counter)  # faults that no attempt can have survived, by key

    @property
    def ended(self) -> bool:
        return self.watched.process.poll() is not None

    def lost(self, key: str) -> int:
        """How often the drivers have said that the run's worker was lost."""
        lines = [*self.before, *self.watched.lines]
        return sum(LOST in line and f"{self.names[key]}:" in line for line in lines)

    def look(self) -> list[Attempt]:
        """The attempts that are under way. To be called often, also where nobody wants to know."""
        self.nodes = self.tended()
        found = [attempt for attempt in attempts(self.workspace) if birth(attempt.pid) is not None]
        for attempt in found:
            if attempt not in self.first_checkpoint:
                self.first_checkpoint[attempt] = attempt.checkpoint
                self.births.setdefault(attempt.pid, birth(attempt.pid) or "")
        return found

    def overtaken(self, attempt: Attempt) -> bool:
        """Whether a later attempt at the run was seen, or the run has ended."""
        later = any(a.slot == attempt.slot and a.number > attempt.number for a in self.first_checkpoint)
        return later or (attempt.slot / "run.json").exists()

    def victims(self, draw: random.Random) -> list[tuple[Attempt, Node]]:
        """Waits until an attempt is under way that no fault has met yet, and then for a drawn time.

        One of four faults comes at once, the others after a checkpoint of the attempt. All such attempts, in a drawn
        order, with their nodes; nothing where the stage has ended.
        """
        at_once, moment = draw.random() < 0.25, draw.uniform(0.0, LONGEST_S)
        deadline = time.monotonic() + PATIENCE_S
        while not self.ended and time.monotonic() < deadline:
            ready = [a for a in self._new() if at_once or a.checkpoint != self.first_checkpoint[a]]
            if ready:
                time.sleep(moment)
                still = [(a, node) for a in self._new() for node in self.nodes if a.pid in node.pids()]
                if still:
                    draw.shuffle(still)
                    return still
            time.sleep(LOOK_S)
        return []

    def _new(self) -> list[Attempt]:
        return [attempt for attempt in self.look() if attempt not in self.struck]

    def strike(self, attempt: Attempt) -> None:
        """Notes that a fault has met the attempt, which it cannot survive, unless it had just finished."""
        self.struck.add(attempt)
        self.fatal[attempt.slot.name] += not (attempt.slot / "run.json").exists()

    def compared(self, undisturbed: Workspace) -> dict[str, bool]:
        weights, histories = self.workspace.weights(), self.workspace.histories()
        return {
            "the weights are those of the undisturbed runs": weights == undisturbed.weights(),
            "every row of every history is there once": histories == undisturbed.histories(),
        }

    def attempts(self) -> dict[str, bool]:
        """Whether those of every run were counted: as many as were seen at least, or must have been; and no more than
        drivers were started, or sent the run out again. A result is of the last attempt, never of one before."""
        paths = (self.workspace.folder / "runs" / "tiny").glob("*/run.json")
        counted = {record["key"]: record["attempts"] for record in (json.loads(path.read_text()) for path in paths)}
        drivers = sum(" to train" in line for line in [*self.before, *self.watched.lines])
        last = {key: max((a.number for a in self.first_checkpoint if a.slot.name == key), default=1) for key in counted}
        enough = all(counted[key] >= 1 + self.fatal[key] for key in counted)
        return {
            "attempts are counted": enough and all(counted[key] <= drivers + self.lost(key) for key in counted),
            "no attempt publishes that was overtaken": all(counted[key] >= last[key] for key in counted),
            "no attempt writes on that was overtaken": ledger.overtaken(self.workspace) == 0,
        }

    def go_on(self, watched: Watched) -> None:
        """The same command, once more."""
        self.before += self.watched.lines
        self.watched = watched

    def end(self) -> int | None:
        """Waits for the end of the driver; its exit code, None where it would not end."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.ended and time.monotonic() < deadline:
            self.look()
            time.sleep(LOOK_S)
        return self.watched.end() if self.ended else None

    def left_alive(self) -> list[int]:
        """Processes that have trained here and live on, for longer than they may."""
        deadline = time.monotonic() + GONE_S
        while (alive := self._alive()) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return alive

    def kill_the_rest(self) -> None:
        for pid in self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _alive(self) -> list[int]:
        return [pid for pid, born in self.births.items() if born and birth(pid) == born]


def birth(pid: int) -> str | None:
    """When the process was started, in the kernel's ticks; None where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
