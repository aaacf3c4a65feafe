"""The parent run: one for each invocation, with what was asked for, and the report."""

import time
import uuid
from contextlib import suppress
from pathlib import Path

from pipeline.store.records import sha256
from pipeline.tracking import notes, points
from pipeline.tracking.facts import Invocation
from pipeline.tracking.faults import Gone
from pipeline.tracking.ledger import Failed, Finished, Ledger, RunState
from pipeline.tracking.service import Service

NOTE = "mlflow.note.content"
MARK = "pipeline.invocation"  # finds the parent again where the answer to its creation was lost
REPORT = "pipeline.report"


class Parent:
    """Belongs to the writer's thread. Without an invocation there is none, unless a report needs a place."""

    def __init__(self, service: Service, ledger: Ledger, invocation: Invocation | None, commit: str | None) -> None:
        self.service, self.ledger, self.invocation, self.commit = service, ledger, invocation, commit
        self.experiment = service.experiment
        self.run_id: str | None = None
        self.ended = False
        self._mark, self._began_ms = uuid.uuid4().hex, int(time.time() * 1000)

    def begin(self) -> None:
        if self.invocation is not None and self.run_id is None:
            self.run_id = self.service.one(MARK, self._mark, self._create).run_id

    def _create(self) -> None:
        tags = {"pipeline.kind": "invocation", MARK: self._mark, "experiment": self.experiment, NOTE: self._note()}
        if self.commit:
            tags["git_commit"] = tags["mlflow.source.git.commit"] = self.commit
        self.service.create("invocation", self._began_ms, tags)

    def standings(self) -> None:
        """How many runs had ended when, and the seconds that the others were thought to take."""
        standings = self.ledger.standings()
        if self.run_id is None or not standings:
            return
        metrics = [
            points.Point(key, value, one.unix_ms, one.runs_done)
            for one in standings
            for key, value in (("runs_done", one.runs_done), ("seconds_left", one.seconds_left))
            if value is not None
        ]
        with suppress(Gone):  # somebody deleted it: nothing hangs on it
            for first in range(0, len(metrics), points.MAX_BATCH):
                self.service.log(self.run_id, metrics[first : first + points.MAX_BATCH])
        self.ledger.told(standings)

    def end(self) -> None:
        if self.run_id is None or self.ended:
            return
        ends = {state.end.status if isinstance(state.end, Failed) else "FINISHED" for state in self.ledger.states()}
        status = next((bad for bad in ("FAILED", "KILLED") if bad in ends), "FINISHED")
        self._close(self.run_id, status)
        self.ended = True

    def _close(self, run_id: str, status: str) -> None:
        try:
            self.service.log(run_id, tags={NOTE: self._note()})
            self.service.end(run_id, status, int(time.time() * 1000))
        except Gone:  # somebody deleted it: nothing hangs on it
            return

    def _note(self) -> str:
        states = self.ledger.states()
        trained = {state.facts.run: _word(state) for state in states if state.facts.trained_here}
        invocation = self.invocation or Invocation(command=f"python -m pipeline.track {self.experiment}", asked=())
        return notes.invocation_note(self.experiment, invocation, trained)

    def report(self) -> None:
        """The report's files, on the newest invocation of the experiment, each version once."""
        folder = self.ledger.report
        if folder is None:
            return
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        version = points.cut(" ".join(f"{_inside(path, folder)}:{sha256(path)[:12]}" for path in files), points.MAX_TAG)
        newest = self.service.find("pipeline.kind", "invocation", newest=True)
        run = newest[0] if newest else self.service.one(MARK, self._mark, self._create)
        if files and run.tags.get(REPORT) != version:
            self.service.folder(run.run_id, folder, "report")
            self.service.log(run.run_id, tags={REPORT: version})
        if not newest:
            self._close(run.run_id, "FINISHED")
        if self.ledger.report is folder:
            self.ledger.report = None


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _word(state: RunState) -> str:
    if isinstance(state.end, Finished):
        return state.end.record.status
    return "under way" if state.end is None else f"not finished ({points.cut(state.end.reason, 100)})"
