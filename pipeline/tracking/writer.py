"""Brings MLflow to what the ledger says. Every step may fail and be taken again: none of them leaves a thing twice."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.tracking import notes, points
from pipeline.tracking.facts import RunFacts
from pipeline.tracking.faults import Away, Gone, Unfit
from pipeline.tracking.ledger import Failed, Finished, Ledger, RunState
from pipeline.tracking.parent import NOTE, Parent
from pipeline.tracking.published import Published, published
from pipeline.tracking.service import Service

if TYPE_CHECKING:
    from resnet.history import Row

PARENT = "mlflow.parentRunId"
RECORD = "pipeline.record"  # digest of the record that is here in full
RESULT = "pipeline.result"
DELETED = "deleted in MLflow, nothing more is sent of it"


class Writer:
    """Belongs to one thread. `enough` says when to stop between two steps."""

    def __init__(self, service: Service, ledger: Ledger, parent: Parent, enough: Callable[[], bool]) -> None:
        self.service, self.ledger, self.parent, self.enough = service, ledger, parent, enough

    def send(self) -> None:
        """All that is owed. Raises Away; then the rest is still owed."""
        for state in self.ledger.states():
            if self.enough():
                return
            if state.owes():
                self._bring(state)

    def _bring(self, state: RunState) -> None:
        try:
            if state.run_id is None or state.again:
                self._adopt(state)
            end = state.end  # before the rows are looked at: none comes after a run's end
            if not state.stopped:
                self._rows(state, end)
                self._end(state, end)
                self._result(state)
        except Away:
            state.run_id = None  # how much of it arrived is for MLflow to say when it is back
            raise
        except Gone:
            if state.lost:
                state.stopped = DELETED
            state.run_id, state.lost = None, True  # or it was a double, and another run has its place
            if not state.stopped:
                self._bring(state)
        except Unfit as refusal:
            state.stopped = str(refusal)
        except UserError as error:
            state.stopped = str(error)
        except OSError as error:
            state.stopped = f"{error.filename}: {error.strerror}"

    def _adopt(self, state: RunState) -> None:
        """The one run of this key: found by its tag or made, its params written once, its rows counted."""
        facts = state.facts
        found = self.service.find("run_key", facts.key)
        if not any(run.active for run in found) and (found or state.lost):
            state.stopped = DELETED
            return
        run = self.service.one("run_key", facts.key, lambda: self._create(state))
        wanted = points.params(facts)
        missing = {key: value for key, value in wanted.items() if key not in run.params}
        if missing:
            self.service.dataset(run.run_id, facts.dataset or facts.experiment, facts.data_digest)
            self.service.log(run.run_id, params=missing)  # last: where they are, the data's name is
        state.sent = set(self.service.steps(run.run_id))
        state.complete, state.result_sent = run.tags.get(RECORD), run.tags.get(RESULT)
        if state.end is None and (state.again or run.status != "RUNNING"):
            self.service.log(run.run_id, tags={RECORD: ""})
            self.service.running(run.run_id)
            state.complete = None
        state.run_id, state.again = run.run_id, False

    def _create(self, state: RunState) -> None:
        facts = state.facts
        tags = points.tags(facts, self._commit(facts))
        tags[NOTE] = notes.run_note(facts, self._paper(facts), self._commit(facts))
        if self.parent.run_id and facts.trained_here:
            tags[PARENT] = self.parent.run_id
        rows = self.ledger.to_send(state)
        began = rows[0].unix_time_s - rows[0].seconds if rows else time.time()
        self.service.create(facts.run, int(began * 1000), tags)

    def _rows(self, state: RunState, end: Finished | Failed | None) -> None:
        if isinstance(end, Finished) and not state.ended:
            if state.complete == points.digest(end.record):
                self.ledger.forget_rows(state)
            else:  # the file is the truth: a row may have been lost on its way to the driver
                self.ledger.rows(state.facts.key, self._history(end.folder))
        strange = points.non_finite(self.ledger.history(state))
        for rows, metrics in points.batches(self.ledger.to_send(state), self.ledger.speeds(state)):
            if self.enough():
                return
            self.service.log(str(state.run_id), metrics, tags={"non_finite": strange} if strange else None)
            state.sent |= {row.iteration for row in rows}

    @staticmethod
    def _history(folder: Path) -> "list[Row]":
        from pipeline.store.history import read_history

        return read_history(folder / "history.csv")

    def _end(self, state: RunState, end: Finished | Failed | None) -> None:
        if end is None or state.ended or self.enough():
            return
        if isinstance(end, Failed):
            self.service.log(str(state.run_id), tags={"failure": points.cut(end.reason, 500)})
            self.service.end(str(state.run_id), end.status, int(time.time() * 1000))
        elif state.complete != points.digest(end.record):
            self._finish(state, end)
        state.ended = state.end is end  # the stage may have begun it again meanwhile

    def _finish(self, state: RunState, end: Finished) -> None:
        """Figures, files and status of a finished run; the tag that says so comes last."""
        found = self.service.one("run_key", state.facts.key)
        if found.run_id != state.run_id:
            raise Gone  # it was a double
        run_id, record = str(state.run_id), end.record
        end_ms = max(self.service.steps(run_id).values(), default=int(time.time() * 1000))
        paper = self._paper(state.facts)
        self._summary(run_id, points.run_metrics(record, paper), record.iterations, end_ms)
        for name in ("history.csv", "run.json"):
            self.service.file(run_id, (end.folder / name).resolve(strict=True))
        self.service.text(run_id, json.dumps(record.weights.model_dump(), indent=2) + "\n", "weights.json")
        tags = {
            "device": record.device,
            "status": record.status,
            **({"failure": ""} if "failure" in found.tags else {}),
        }
        tags[NOTE] = notes.run_note(state.facts, paper, self._commit(state.facts), record)
        self.service.log(run_id, tags=tags)
        self.service.end(run_id, "FINISHED", end_ms)
        self.service.log(run_id, tags={RECORD: points.digest(record)})
        state.complete = points.digest(record)
        self.ledger.forget_rows(state)

    def _result(self, state: RunState) -> None:
        result = state.result
        if result is None or not isinstance(state.end, Finished) or self.enough():
            return
        if (digest := points.digest(result)) != state.result_sent:
            run_id = str(state.run_id)
            metrics = points.result_metrics(result, self._paper(state.facts))
            end_ms = self.service.get(run_id).end_ms or int(time.time() * 1000)
            self._summary(run_id, metrics, state.end.record.iterations, end_ms)
            self.service.log(run_id, tags={RESULT: digest, "protocol": result.protocol})
            state.result_sent = digest
        if state.result is result:
            state.result = None

    def _summary(self, run_id: str, wanted: Mapping[str, float], step: int, unix_ms: int) -> None:
        """Single figures: those that MLflow has already are not sent again, a changed one comes after the old one."""
        have = self.service.get(run_id).metrics
        new = []
        for key, value in wanted.items():
            if have.get(key) != value:
                later = max(self.service.steps(run_id, key).values(), default=0) + 1 if key in have else 0
                new.append(points.Point(key, value, max(unix_ms, later), step))
        if new:
            self.service.log(run_id, new)

    def _commit(self, facts: RunFacts) -> str | None:
        return self.parent.commit if facts.commit is None else facts.commit or None

    @staticmethod
    def _paper(facts: RunFacts) -> Published | None:
        return published(facts.dataset, facts.architecture)
