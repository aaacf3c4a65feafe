"""Code that is broken on purpose: what the scenarios of full disks and of MLflow outages are there to see."""

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from pipeline.store import records
from pipeline.tracking import Tracker
from pipeline.tracking.faults import Away
from pipeline.tracking.ledger import Ledger, RunState
from pipeline.tracking.writer import Writer
from resnet.history import Row


def files_in_place() -> None:
    """Files are written where they belong from the first byte on. Changes the process that calls it."""
    whole = records.write_bytes
    for module in [module for name, module in sys.modules.items() if name.startswith("pipeline")]:
        if getattr(module, "write_bytes", None) is whole:
            module.write_bytes = Path.write_bytes  # type: ignore[attr-defined]


def folders_in_place() -> None:
    """A stage's folder is emptied and filled. Changes the process that calls it."""

    @contextmanager
    def replacing(target: Path) -> Iterator[Path]:
        with records._disk_faults(target):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            yield target

    whole = records.replacing
    for module in [module for name, module in sys.modules.items() if name.startswith("pipeline")]:
        if getattr(module, "replacing", None) is whole:
            module.replacing = replacing  # type: ignore[attr-defined]


@contextmanager
def asking() -> Iterator[None]:
    """A call of the tracker asks MLflow itself."""
    original = Tracker.rows

    def rows(self: Tracker, key: str, given: Sequence[Row]) -> None:
        original(self, key, given)
        if self._service is not None and given and given[-1].iteration % 40 == 0:
            with suppress(Exception):
                self._service.find("run_key", key)

    with patch.object(Tracker, "rows", rows):
        yield


@contextmanager
def locked() -> Iterator[None]:
    """The writer keeps the ledger for itself while it waits for MLflow."""
    begin, send = Ledger.__init__, Writer.send

    def init(self: Ledger) -> None:
        begin(self)
        self._lock = threading.RLock()  # type: ignore[assignment]

    def sending(self: Writer) -> None:
        with self.ledger._lock:
            send(self)

    with patch.object(Ledger, "__init__", init), patch.object(Writer, "send", sending):
        yield


@contextmanager
def doubling() -> Iterator[None]:
    """A run that begins anew gives its rows anew, and they are sent."""
    original = Ledger.rows

    def rows(self: Ledger, key: str, given: Sequence[Row]) -> None:
        with self._lock:
            state = self._runs[key]
            for row in given:
                if row != state.rows.get(row.iteration, row):
                    state.sent.discard(row.iteration)
                    del state.rows[row.iteration]
        original(self, key, given)

    with patch.object(Ledger, "rows", rows):
        yield


@contextmanager
def forgetting() -> Iterator[None]:
    """What is owed when MLflow turns out to be away counts as sent, for good."""
    bring, adopt = Writer._bring, Writer._adopt
    forgotten: dict[str, set[int]] = {}

    def bringing(self: Writer, state: RunState) -> None:
        try:
            bring(self, state)
        except Away:
            forgotten.setdefault(state.facts.key, set()).update(state.rows)
            raise

    def adopting(self: Writer, state: RunState) -> None:
        adopt(self, state)
        state.sent |= forgotten.get(state.facts.key, set())

    with patch.object(Writer, "_bring", bringing), patch.object(Writer, "_adopt", adopting):
        yield
