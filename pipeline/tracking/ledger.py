"""What MLflow should have and what it is known to have. Filled by the stage, emptied by the writer's thread."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.store.records import RunRecord, RunResult
from pipeline.tracking.facts import RunFacts
from pipeline.tracking.speed import Speed, speed

if TYPE_CHECKING:
    from resnet.history import Row


@dataclass(frozen=True, slots=True)
class Finished:
    record: RunRecord
    folder: Path


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str
    status: str = "FAILED"  # or KILLED: the invocation ended before the run did


@dataclass(frozen=True, slots=True)
class Standing:
    """How an invocation stood when one of its runs ended."""

    runs_done: int
    seconds_left: float | None
    unix_ms: int


@dataclass(slots=True)
class RunState:
    """One run. The stage sets the upper fields under the ledger's lock, the writer alone the lower ones."""

    facts: RunFacts
    rows: dict[int, "Row"] = field(default_factory=dict)
    speeds: dict[int, Speed] = field(default_factory=dict)  # by the rows' iterations, where one can be said
    last: "Row | None" = None  # the one that was given last, of whatever attempt
    end: Finished | Failed | None = None
    result: RunResult | None = None

    run_id: str | None = None  # None: look for it in MLflow
    sent: set[int] = field(default_factory=set)  # iterations that MLflow has
    complete: str | None = None  # digest of the record that MLflow has in full
    result_sent: str | None = None  # digest of the result that MLflow has
    ended: bool = False
    again: bool = False  # begun once more after it was given up
    lost: bool = False  # MLflow said that the run is not there
    stopped: str | None = None  # why nothing more is sent

    def unsent(self) -> int:
        return sum(iteration not in self.sent for iteration in self.rows)

    def owes(self) -> bool:
        """Whether there is anything to send."""
        if self.stopped:
            return False
        untold = (self.run_id is None or self.again) and not self.ended
        return untold or (self.end is not None and not self.ended) or self.result is not None or self.unsent() > 0


class Ledger:
    """Every method returns at once: the lock is never held while anything waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, RunState] = {}
        self._standings: list[Standing] = []  # to be sent
        self.report: Path | None = None  # a folder to be sent; None once it is

    def begin(self, facts: RunFacts) -> None:
        with self._lock:
            state = self._runs.setdefault(facts.key, RunState(facts))
            state.facts = facts  # it may go on on another device
            if isinstance(state.end, Failed):  # tried again
                state.end, state.ended, state.again = None, False, True

    def rows(self, key: str, rows: Sequence["Row"]) -> None:
        """The first row of an iteration counts: a run that goes on from a checkpoint makes some of them again.

        A speed is that between two rows of one attempt, which gives all of its rows, from the first one on.
        """
        with self._lock:
            state = self._runs.get(key)
            if state is not None:
                for row in rows:
                    if row.iteration not in state.rows:
                        state.rows[row.iteration] = row
                        if (found := speed(state.facts, state.last, row)) is not None:
                            state.speeds[row.iteration] = found
                    state.last = row

    def finish(self, record: RunRecord, folder: Path, facts: RunFacts) -> None:
        with self._lock:
            state = self._runs.setdefault(record.key, RunState(facts))
            state.end, state.ended = Finished(record, folder), False

    def fail(self, key: str, reason: str) -> None:
        with self._lock:
            state = self._runs.get(key)
            if state is not None and not isinstance(state.end, Finished):
                state.end, state.ended = Failed(reason), False

    def result(self, result: RunResult) -> None:
        with self._lock:
            state = self._runs.get(result.key)
            if state is not None:
                state.result = result

    def standing(self, standing: Standing) -> None:
        with self._lock:
            self._standings.append(standing)

    def standings(self) -> list[Standing]:
        """Those that MLflow has not got."""
        with self._lock:
            return list(self._standings)

    def told(self, standings: Sequence[Standing]) -> None:
        """MLflow has these, the first ones."""
        with self._lock:
            del self._standings[: len(standings)]

    def abandon(self) -> None:
        """Ends the runs that the invocation leaves unfinished; the next one goes on with them."""
        with self._lock:
            for state in self._runs.values():
                if state.end is None:
                    state.end, state.ended = Failed("the invocation ended first", "KILLED"), False

    def states(self) -> list[RunState]:
        with self._lock:
            return list(self._runs.values())

    def to_send(self, state: RunState) -> list["Row"]:
        """Rows that MLflow has not got, in the order of their iterations."""
        with self._lock:
            return [state.rows[i] for i in sorted(state.rows) if i not in state.sent]

    def speeds(self, state: RunState) -> dict[int, Speed]:
        """By iteration, of the rows that were given."""
        with self._lock:
            return dict(state.speeds)

    def history(self, state: RunState) -> list["Row"]:
        """All rows that were given, in the order of their iterations."""
        with self._lock:
            return [state.rows[i] for i in sorted(state.rows)]

    def forget_rows(self, state: RunState) -> None:
        """Of a run that MLflow has in full: a long list of runs must not fill the memory."""
        with self._lock:
            state.rows.clear()
            state.speeds.clear()

    def unsent(self) -> dict[str, int]:
        """Rows still owed, by run; 0 where only its end or its files are."""
        with self._lock:
            return {state.facts.run: state.unsent() for state in self._runs.values() if state.owes()}

    def stopped(self) -> dict[str, str]:
        with self._lock:
            return {state.facts.run: state.stopped for state in self._runs.values() if state.stopped}

    def size(self) -> int:
        with self._lock:
            return len(self._runs)
