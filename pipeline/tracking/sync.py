"""Brings MLflow to what is on disk: published runs, runs that are being trained, results, the report.

A sync reads the files, asks MLflow what it has and sends what is missing. So it may be killed, repeated, or run by two
processes at once, and MLflow still has every row once. A stage never fails because of MLflow, and never waits for it
longer than a bound. Rows of a run that is being trained are those of its newest checkpoint.
"""

import argparse
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline import config
from pipeline.config import Experiment, RunSpec
from pipeline.errors import EnvironmentFault, UserError
from pipeline.paths import DATA, REPORTS, RESULTS, RUNS
from pipeline.records import Manifest, RunRecord, RunResult, as_json, read, sha256
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RECORD, WEIGHTS, RunFolder
from pipeline.run_store.run_key import plan
from pipeline.run_store.tables import HISTORY
from pipeline.storage import locate
from pipeline.tracking import metrics
from pipeline.tracking.client import Address, Client, Conflict, Rejected, Unavailable, address
from pipeline.tracking.metrics import FILES, NOTE, LocalRun, Point

log = logging.getLogger(__name__)
INTERVAL_S = 5.0  # between two updates while a stage trains
PATIENCE_S = 60.0  # of a stage at its end: a new SQLite file takes seconds to create
HURRY_S = 2.0  # of a stage that was interrupted
COMMAND_S = 600.0  # of the command `sync`
TRIES = 5  # of what another process writes at the same moment
MAX_TAG = 8000  # characters


@dataclass(frozen=True, slots=True)
class Outcome:
    """What MLflow has after a sync."""

    experiment: str
    where: str  # the address without credentials
    runs: int
    problem: str | None  # why something is missing
    skipped: Mapping[str, str]  # run -> why it is not sent
    page: str = ""  # address of the experiment's curves

    def line(self) -> str:
        """Returns one line for people."""
        sent = f"has {self.runs} run{'s' * (self.runs != 1)} of {self.experiment}: {self.page}"
        later = f"{self.problem}; later: python -m pipeline sync {self.experiment}"
        skipped = [f"{run}: {why}" for run, why in self.skipped.items()]
        more = [f"{len(skipped) - 3} more are not sent"] if len(skipped) > 3 else []
        return "; ".join([f"MLflow ({self.where}) {later if self.problem else sent}", *skipped[:3], *more])


def main(arguments: argparse.Namespace) -> None:
    """Runs the command `sync`. Raises EnvironmentFault where MLflow still lacks something."""
    config.load(arguments.experiment)
    address()
    outcome = sync(arguments.experiment, patience_s=COMMAND_S)
    if outcome.problem is not None:
        raise EnvironmentFault(outcome.line())
    print(outcome.line())


def sync(experiment: str, *, patience_s: float = PATIENCE_S) -> Outcome:
    """Sends to MLflow what it lacks of an experiment. Raises nothing; waits at most `patience_s` seconds."""
    updater = Updater(experiment)
    updater.start()
    return updater.finish(patience_s)


@contextmanager
def syncing(experiment: Experiment, specs: Sequence[RunSpec]) -> Iterator[None]:
    """Keeps MLflow up to date while the block trains these runs, and prints one line at its end."""
    store = locate(experiment.storage)
    updater = Updater(experiment.name, [(spec, RunFolder(store / spec.key)) for spec in specs])
    updater.start()
    patience_s = PATIENCE_S
    try:
        yield
    except KeyboardInterrupt:
        patience_s = HURRY_S
        raise
    finally:
        print(updater.finish(patience_s).line(), flush=True)


def repeated(send: Callable[[], None]) -> None:
    """Sends again while another process writes the same, each time what is then missing."""
    for _ in range(TRIES - 1):
        with suppress(Conflict):
            return send()
    return send()


class Updater:
    """Brings one experiment in MLflow up to date."""

    def __init__(self, experiment: str, training: Sequence[tuple[RunSpec, RunFolder]] | None = None) -> None:
        """`training`: the runs of a train stage, every few seconds; None: all files of the experiment, once."""
        self.experiment, self._training = experiment, training
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._closing, self._stop = threading.Event(), threading.Event()
        self._address: Address | None = None
        self._client: Client | None = None
        self._manifest: Manifest | None = None
        self._sent: dict[str, Any] = {}  # run key -> what of the run changes, as MLflow has it
        self._skipped: dict[str, str] = {}
        self._problem: str | None = "did not answer in time"

    def start(self) -> None:
        """Updates once; during a train stage until `finish` is called, and once after that. Returns at once."""
        self._thread.start()

    def _run(self) -> None:
        while self._training is not None and not self._closing.wait(INTERVAL_S):
            before = self._problem
            self.update()
            if self._problem not in (None, before):
                log.warning("MLflow (%s) %s; training continues, it is sent later", self._where, self._problem)
        self.update(over=self._training is not None)

    def finish(self, patience_s: float) -> Outcome:
        """Waits for the last update, for a bounded time. Returns how far it came."""
        self._closing.set()
        self._thread.join(patience_s)
        self._stop.set()
        problem = "did not answer in time" if self._thread.is_alive() else self._problem
        page = self._client.page if self._client else ""
        return Outcome(self.experiment, self._where, len(self._sent), problem, dict(self._skipped), page)

    @property
    def _where(self) -> str:
        return self._address.shown if self._address else "no valid address"

    def update(self, over: bool = False) -> None:
        """Sends what MLflow lacks; raises nothing. `over`: no run is being trained any more."""
        try:
            self._address = self._address or address()
            self._client = self._client or Client(self._address, self.experiment, self._stop)
            self._send_all(self._client, over)
            self._problem = None
        except (Unavailable, Rejected) as error:
            self._problem = str(error)
        except Exception as error:  # a bug must neither end the stage nor show a credential
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._problem = f"is not used: {self._address.redacted(text) if self._address else text}"

    def _send_all(self, client: Client, over: bool) -> None:
        path = DATA / self.experiment / "manifest.json"
        self._manifest = read(Manifest, path, f"dvc repro prepare@{self.experiment}") if path.is_file() else None
        runs = self._planned() if self._training is None else self._training
        keys = {spec.name: spec.key for spec, _ in runs}
        if self._training is None:
            for path in sorted((RUNS / self.experiment).glob(f"*/{RECORD}")):
                name = path.parent.name
                self._bring(client, name, partial(self._published, path.parent, keys.get(name)))
        for spec, folder in runs:
            self._bring(client, spec.name, partial(self._in_store, spec, folder, over))
        if self._training is None and (REPORTS / self.experiment).is_dir():
            repeated(partial(self._send_report, client, REPORTS / self.experiment))

    def _planned(self) -> list[tuple[RunSpec, RunFolder]]:
        """The runs of params.yaml; none where params.yaml or the data do not say which, as a sync needs neither."""
        with suppress(UserError):
            experiment = config.load(self.experiment)
            store = locate(experiment.storage)
            specs = plan(experiment, self._manifest) if self._manifest else []
            return [(spec, RunFolder(store / spec.key)) for spec in specs]
        return []

    def _published(self, path: Path, key: str | None) -> LocalRun:
        """The run in runs/; without `key`, which params.yaml and data/ give, of any key."""
        made_by = f"python -m pipeline train {self.experiment}"
        folder = RunFolder(path, key or read(RunRecord, path / RECORD, made_by).key, made_by)
        record = folder.record()
        values = record.model_dump(include={field.name for field in fields(RunSpec)})
        try:
            spec = TypeAdapter(RunSpec).validate_json(json.dumps({"architecture_name": record.network, **values}))
        except ValidationError:
            raise UserError(f"{path / RECORD}: written by another version of the code, and not sent") from None
        return self._finished(spec, record, folder)

    def _in_store(self, spec: RunSpec, folder: RunFolder, over: bool = False) -> LocalRun | None:
        """The run in the run store; None where it has not begun, or was sent when it finished."""
        if folder.finished:
            if self._sent.get(spec.key, ("",))[0] == "FINISHED" and not over:  # `over`: `--fresh` may have replaced it
                return None
            names = {"run": spec.name, "experiment": spec.experiment, "network": spec.network}
            return self._finished(spec, folder.record().model_copy(update=names), folder)
        running = not over and lease.is_held(folder.path)
        rows = folder.rows()
        if not rows and not running:
            return None
        failure = "" if running else self._failure(spec.key)
        status = "RUNNING" if running else "FAILED" if failure else "KILLED"
        digest = self._manifest.digest() if self._manifest else ""
        return self._local(spec, folder, digest, status=status, failure=failure, rows=rows)

    def _finished(self, spec: RunSpec, record: RunRecord, folder: RunFolder) -> LocalRun:
        path = RESULTS / self.experiment / f"{spec.name}.json"
        result = read(RunResult, path, f"dvc repro --force evaluate@{self.experiment}") if path.is_file() else None
        result = result if result and result.key == record.key else None
        digest, rows = record.data_digest, folder.history(record)
        return self._local(spec, folder, digest, status="FINISHED", rows=rows, record=record, result=result)

    def _local(self, spec: RunSpec, folder: RunFolder, digest: str, **values: Any) -> LocalRun:
        manifest = self._manifest
        dataset = manifest.dataset if manifest and manifest.digest() == digest else None
        return LocalRun(spec=spec, folder=folder, data_digest=digest, dataset=dataset, **values)

    def _failure(self, key: str) -> str:
        """Why the last train stage gave this run up, if it did."""
        path = RUNS / self.experiment / "failed.json"
        failed = json.loads(path.read_bytes()) if path.is_file() else []
        return next((one["reason"] for one in failed if one["key"] == key), "")

    def _bring(self, client: Client, name: str, load: Callable[[], LocalRun | None]) -> None:
        """Sends one run, unless MLflow has it as it is. Raises Unavailable."""
        try:
            run = load()
            state = run and (run.status, len(run.rows), run.version, run.result)
            if run is None or self._sent.get(run.spec.key) == state:
                return
            repeated(partial(self._send, client, run))
            self._sent[run.spec.key] = state
            self._skipped.pop(name, None)
        except (Rejected, UserError) as error:
            self._skipped[name] = str(error)

    def _send(self, client: Client, run: LocalRun) -> None:
        now_ms = int(time.time() * 1000)
        begin_ms = int((run.rows[0].unix_time_s - run.rows[0].seconds) * 1000) if run.rows else now_ms
        end_ms = int(run.rows[-1].unix_time_s * 1000) if run.rows else now_ms
        found = client.one("run_key", run.spec.key, run.spec.name, begin_ms)
        run_id, have = found.info.run_id, found.data
        if run.dataset and not found.inputs.dataset_inputs:
            client.dataset(run_id, run.dataset, run.data_digest, DATA / self.experiment)
        client.log(run_id, params={k: v for k, v in metrics.params(run.spec).items() if k not in have.params})
        if not run.version or have.tags.get(FILES) != run.version:
            for batch in metrics.batches(run, client.iterations(run_id)):
                client.log(run_id, batch)
            if run.record:  # the weights stay here: weights.json has their digest
                client.ask(client.mlflow.log_artifact, run_id, str(run.folder.local(run.record, HISTORY)))
                client.ask(client.mlflow.log_text, run_id, as_json(run.record).decode(), RECORD)
                client.ask(client.mlflow.log_text, run_id, as_json(run.record.file(WEIGHTS)).decode(), "weights.json")
        points = [  # a value that replaces another one must be later
            Point(name, value, now_ms if name in have.metrics else end_ms, run.rows[-1].iteration)
            for name, value in metrics.summary(run).items()
            if have.metrics.get(name) != value
        ]
        wanted = {name: client.address.redacted(text)[:MAX_TAG] for name, text in metrics.tags(run).items()}
        client.log(run_id, points, tags={k: v for k, v in wanted.items() if have.tags.get(k, "") != v})
        if found.info.status != run.status:
            client.set_status(run_id, run.status, end_ms)

    def _send_report(self, client: Client, folder: Path) -> None:
        """The report's folder, as files of one run of its own."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        content = "".join(f"{path.relative_to(folder)} {sha256(path)}\n" for path in files)
        version = hashlib.sha256(content.encode()).hexdigest()[:16]
        made_ms = int(max((path.stat().st_mtime for path in files), default=0.0) * 1000)
        found = client.one("pipeline.kind", "report", "report", made_ms)
        if found.data.tags.get(FILES) != version:
            note = f"Report of {self.experiment}. To write it again: `python -m pipeline report {self.experiment}`"
            client.ask(client.mlflow.log_artifacts, found.info.run_id, str(folder), "report")
            client.log(found.info.run_id, tags={FILES: version, NOTE: note})
        if found.info.status != "FINISHED":
            client.set_status(found.info.run_id, "FINISHED", made_ms)
