"""The single writer to MLflow: a thread of the stage's own process, which the stage never waits for."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.store.records import RunRecord, RunResult
from pipeline.tracking.address import Address, address
from pipeline.tracking.facts import Invocation, Outcome, RunFacts
from pipeline.tracking.faults import Away, Gone, Refused, Unfit
from pipeline.tracking.ledger import Ledger, Standing

if TYPE_CHECKING:
    from pipeline.tracking.parent import Parent
    from pipeline.tracking.service import Service
    from pipeline.tracking.writer import Writer
    from resnet.history import Row

log = logging.getLogger(__name__)

FLUSH_S = 2.0  # rows are collected for so long
LONGEST_PAUSE_S = 30.0  # between two tries
FIRST_PAUSE_S = 1.0
PATIENCE_S = 60.0  # at the end, for what is left: a fresh SQLite file takes seconds to make
SILENCE_S = 20.0  # of a server, after which it is given up


class Tracker:
    """What a stage says about its runs, on its way to MLflow.

    No method blocks or raises, whatever MLflow does; `close` alone waits, for as long as it is told. An `invocation`
    becomes the parent of the runs trained in it. `warn` tells a fault when it comes up, not only in the outcome.
    """

    def __init__(
        self, experiment: str, *, uri: str | None = None, invocation: Invocation | None = None, warn: bool = True
    ) -> None:
        self._experiment, self._invocation = experiment, invocation
        self._level = logging.WARNING if warn else logging.DEBUG
        self._service: Service | None = None
        self._ledger = Ledger()
        self._closing, self._over, self._news = threading.Event(), threading.Event(), threading.Event()
        self._address: Address | None = None
        self._reason: str | None = None  # why MLflow does not have everything, in the last try
        self._thread: threading.Thread | None = None
        try:
            self._address = address(uri)
        except (UserError, OSError) as error:
            self._reason = f"is not used: {error}"
            log.log(self._level, "%s", error)
            return
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def begin(self, run: RunFacts) -> None:
        """A run that starts, or goes on."""
        self._tell(lambda: self._ledger.begin(run))

    def rows(self, key: str, rows: Sequence["Row"]) -> None:
        """Rows of its history, in any number; those given before do no harm."""
        self._tell(lambda: self._ledger.rows(key, rows), urgent=False)

    def finish(self, record: RunRecord, folder: Path, dataset: str | None = None) -> None:
        """A finished or diverged run; `folder` holds history.csv and run.json and stays until the tracker is closed.

        Without `begin` it is a run that was finished before. Rows that were not given are read from its history.
        """

        def change() -> None:
            facts = RunFacts.from_record(record, dataset)  # a run may have been trained for another experiment
            self._ledger.finish(record, folder, replace(facts, experiment=self._experiment))

        self._tell(change)

    def fail(self, key: str, reason: str) -> None:
        """A run that this invocation gives up."""
        self._tell(lambda: self._ledger.fail(key, reason))

    def standing(self, runs_done: int, seconds_left: float | None) -> None:
        """How the invocation stands, each time that one of its runs has ended."""
        self._tell(lambda: self._ledger.standing(Standing(runs_done, seconds_left, int(time.time() * 1000))))

    def result(self, result: RunResult) -> None:
        """What the evaluate stage measured, after `finish` of the same run."""
        self._tell(lambda: self._ledger.result(result))

    def report(self, folder: Path) -> None:
        """The report's folder; it goes to the newest invocation of the experiment."""
        self._tell(lambda: setattr(self._ledger, "report", folder))

    def _tell(self, change: Callable[[], None], urgent: bool = True) -> None:
        try:
            change()
        except Exception as error:
            log.warning("not tracked: %s: %s", type(error).__name__, error)
        if urgent:
            self._news.set()

    def close(self, patience_s: float = PATIENCE_S, silence_s: float | None = None) -> Outcome:
        """Sends what it can and says what is left. Runs without an end are marked as killed.

        Gives up after `patience_s`, or when a server has answered nothing for `silence_s` (SILENCE_S).
        """
        self._ledger.abandon()
        self._closing.set()
        self._news.set()
        self._wait(patience_s, SILENCE_S if silence_s is None else silence_s)
        self._over.set()
        unsent, report_sent = self._ledger.unsent(), self._ledger.report is None
        late = self._thread is not None and self._thread.is_alive()
        return Outcome(
            experiment=self._experiment,
            where=self._address.shown if self._address else "address refused",
            runs=self._ledger.size(),
            unsent=unsent,
            stopped=self._ledger.stopped(),
            reason=self._reason or ("did not answer in time" if late else None),
            report_sent=report_sent,
        )

    def _wait(self, patience_s: float, silence_s: float) -> None:
        """For the thread to end."""
        last = began = time.monotonic()
        if self._address and self._address.database:
            silence_s = patience_s
        while self._thread and self._thread.is_alive() and time.monotonic() < min(began + patience_s, last + silence_s):
            self._thread.join(0.05)
            last = max(last, self._service.answered if self._service else 0.0)

    def _work(self) -> None:
        """The thread: tries, pauses, tries again; a fault is told once until it is over."""
        writer: tuple[Writer, Parent] | None = None
        pause = 0.0
        while not self._over.is_set():
            closing = self._closing.is_set()
            try:
                writer = writer or self._connect()
                self._send(*writer, closing)
                if self._reason is not None:
                    log.log(self._level, "MLflow (%s) answers again", self._address and self._address.shown)
                self._reason, pause = None, 0.0
            except Away as fault:
                self._note_fault(str(fault))
                pause = FIRST_PAUSE_S if closing else min(max(FIRST_PAUSE_S, 2 * pause), LONGEST_PAUSE_S)
            except Refused as fault:
                self._note_fault(str(fault))
                return
            except Exception as error:  # a mistake of ours must neither end the stage nor show a credential
                self._note_fault(f"is not used further: {self._redacted(f'{type(error).__name__}: {error}')}")
                return
            if closing and not pause:
                return
            self._rest(pause)

    def _send(self, writer: "Writer", parent: "Parent", closing: bool) -> None:
        try:
            parent.begin()
            writer.send()
            if not self._over.is_set():
                parent.standings()
                parent.report()
            if closing and not self._over.is_set():
                parent.end()
        except (Gone, Unfit) as fault:  # about the parent; a run's own are dealt with where they come up
            raise Refused(f"does not take the invocation or the report: {fault or 'deleted'}") from None

    def _connect(self) -> "tuple[Writer, Parent]":
        from pipeline.checkout import revision
        from pipeline.tracking.parent import Parent
        from pipeline.tracking.service import Service
        from pipeline.tracking.writer import Writer

        assert self._address is not None
        try:
            self._service = service = Service(self._address, self._experiment)
        except (Gone, Unfit) as fault:
            raise Refused(f"does not take the experiment: {fault or 'it is no MLflow server'}") from None
        parent = Parent(service, self._ledger, self._invocation, str(revision(Path()) or ""))
        return Writer(service, self._ledger, parent, self._over.is_set), parent

    def _rest(self, pause: float) -> None:
        """After a fault until it is time to try again; else until there is news, or rows have been collected."""
        if pause:
            (self._over if self._closing.is_set() else self._closing).wait(pause)
        elif not self._closing.is_set():
            self._news.wait(FLUSH_S)
            self._news.clear()

    def _note_fault(self, reason: str) -> None:
        if self._reason is None:
            shown = self._address.shown if self._address else ""
            log.log(self._level, "MLflow (%s) %s; the runs go on, what it misses is sent later", shown, reason)
        self._reason = reason

    def _redacted(self, text: str) -> str:
        return self._address.redacted(text) if self._address else text
