"""MLflow's address and client: three kinds of errors, bounded waits, and no credential in any text."""

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from filelock import FileLock

from pipeline.errors import UserError
from pipeline.messages import redact_userinfo
from pipeline.paths import checkout
from pipeline.tracking import view
from pipeline.tracking.metrics import MARKER, Point

SETTINGS = {  # of MLflow, where the user has not set them; some are read while it is imported
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # they would hold one request for four minutes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME")
HINT = "set MLFLOW_TRACKING_URI to http://HOST:PORT or sqlite:///FILE, or leave it out for ./mlflow.db"
ACCESS = "check MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
TABLES_S = 60.0  # for another process that creates the tables of a SQLite file

Texts = Mapping[str, str]  # by name
NONE: Texts = MappingProxyType({})


class Unavailable(Exception):
    """MLflow does not do it now; the same call may succeed later."""


class Conflict(Unavailable):
    """Another process wrote the same at the same moment, or deleted this run, of which it has created a double."""


class Rejected(Exception):
    """MLflow does not accept this run, or this experiment."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address of MLflow."""

    uri: str  # may contain credentials: for the client only
    shown: str  # without them
    database: Path | None  # the file, for SQLite
    secrets: tuple[str, ...]  # what no printed or stored text may contain, the longest first

    def redacted(self, text: str) -> str:
        """Returns the text without user names, passwords and tokens."""
        text = text.replace(self.uri, self.shown)
        for secret in self.secrets:  # a short one may be part of an ordinary word
            pattern = re.escape(secret)
            text = re.sub(pattern if len(secret) >= 8 else rf"(?<!\w){pattern}(?!\w)", "***", text)
        return redact_userinfo(text)


def address() -> Address:
    """Returns the address in MLFLOW_TRACKING_URI, or mlflow.db in the checkout. Raises UserError."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"sqlite:///{checkout() / 'mlflow.db'}"
    secrets = [os.environ.get(name, "") for name in CREDENTIALS]
    scheme, separator, rest = uri.partition("://") if "://" in uri else ("", "", redact_userinfo(uri))
    if "@" in rest:  # up to the last @: a password may contain one, and a slash too
        user, _, rest = rest.rpartition("@")
        secrets += [part for word in (user, *user.split(":", 1)) for part in (word, unquote(word))]
    shown = (scheme + separator + rest).split("?", 1)[0]
    if scheme == "file" or not (separator or uri.startswith("databricks")):
        raise UserError(f"MLflow address {shown!r}: MLflow no longer keeps runs in folders; {HINT}")
    database = None
    if scheme == "sqlite":
        database = Path(unquote(shown.removeprefix("sqlite:///"))).absolute()
        if not shown.startswith("sqlite:///") or not database.parent.is_dir() or database.is_dir():
            raise UserError(f"MLflow address {shown!r}: no file in a folder that exists; {HINT}")
    return Address(uri, shown, database, tuple(sorted({*secrets} - {""}, key=len, reverse=True)))


def connect(uri: str) -> Any:
    """Imports mlflow, which takes seconds, and returns its client (mlflow.MlflowClient)."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.ERROR)  # it reports each table that it creates
    return MlflowClient(uri)


class Client:
    """One experiment in MLflow, created where it does not exist. Methods raise Unavailable, Conflict and Rejected."""

    def __init__(self, address: Address, experiment: str, stop: threading.Event) -> None:
        """`stop` makes all later calls raise Unavailable."""
        self.address, self._stop = address, stop
        file = address.database
        # Two processes that open a new SQLite file would both create its tables.
        lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=TABLES_S) if file else nullcontext()
        with lock:
            self.mlflow: Any = self.ask(connect, address.uri)
            self.experiment_id = self._experiment(experiment)

    def _experiment(self, name: str) -> str:
        found = self.ask(self.mlflow.get_experiment_by_name, name)
        if found is None:
            file = self.address.database
            artifacts = (file.parent / "mlartifacts").as_uri() if file else None  # None leaves it to the server
            with suppress(Rejected):  # another process has just created it
                self.ask(self.mlflow.create_experiment, name, artifacts)
            found = self.ask(self.mlflow.get_experiment_by_name, name)
        if found is None or found.lifecycle_stage != "active":
            restore = f"mlflow experiments restore -x {found.experiment_id}" if found else "another MLFLOW_TRACKING_URI"
            raise Rejected(f"has deleted the experiment {name} or does not accept it; try: {restore}")
        for tag, text in view.tags(name, found.experiment_id).items():
            if tag not in found.tags:  # a user may have changed it
                with suppress(Conflict):  # another process has just set it
                    self.ask(self.mlflow.set_experiment_tag, found.experiment_id, tag, text)
        return str(found.experiment_id)

    @property
    def page(self) -> str:
        """The address of the experiment's page: on the server, or on the one that `make ui` starts."""
        return view.link(view.LOCAL if self.address.database else self.address.shown, self.experiment_id)

    def one(self, tag: str, value: str, name: str, start_ms: int) -> Any:
        """Returns the only run (mlflow.entities.Run) with this tag, created where there is none.

        Two processes may create it at once: both then keep the first one, by start and id, and delete the other.
        Raises Rejected where a user deleted it.
        """
        if not (found := self._find(tag, value)):
            self.ask(self.mlflow.create_run, self.experiment_id, start_ms, {tag: value}, name)
            found = self._find(tag, value)
        active = [run for run in found if run.info.lifecycle_stage == "active"]
        if not active:
            raise Rejected("deleted in MLflow, and stays deleted")
        first, *doubles = sorted(active, key=lambda run: (run.info.start_time, run.info.run_id))
        for run in doubles:
            with suppress(Conflict):
                self.ask(self.mlflow.delete_run, run.info.run_id)
        return first

    def _find(self, tag: str, value: str) -> list[Any]:
        from mlflow.entities import ViewType

        return list(self.ask(self.mlflow.search_runs, [self.experiment_id], f"tags.`{tag}` = '{value}'", ViewType.ALL))

    def iterations(self, run_id: str) -> set[int]:
        """Returns the iterations whose rows MLflow has."""
        return {metric.step for metric in self.ask(self.mlflow.get_metric_history, run_id, MARKER)}

    def log(self, run_id: str, points: Sequence[Point] = (), params: Texts = NONE, tags: Texts = NONE) -> None:
        """Writes all of it as one transaction. Makes no call where there is nothing to write."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(point.name, point.value, point.unix_ms, point.iteration) for point in points]
        texts = [Param(*item) for item in params.items()]
        labels = [RunTag(*item) for item in tags.items()]
        if metrics or texts or labels:
            self.ask(self.mlflow.log_batch, run_id, metrics, texts, labels, synchronous=True)

    def dataset(self, run_id: str, name: str, digest: str, folder: Path) -> None:
        """Records which data a run is trained on; reads none of them."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest[:36], "local", json.dumps({"uri": folder.as_posix()}))  # at most 36 characters
        given = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        self.ask(self.mlflow.log_inputs, run_id, [given])

    def set_status(self, run_id: str, status: str, end_ms: int) -> None:
        """Says that a run is being trained, or how and when it ended."""
        if status == "RUNNING":
            self.ask(self.mlflow.update_run, run_id, status)
        else:
            self.ask(self.mlflow.set_terminated, run_id, status, end_ms)

    def ask(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Returns what a function of MLflow returns."""
        if self._stop.is_set():
            raise Unavailable("did not answer in time")
        try:
            return function(*arguments, **options)
        except Exception as error:  # of MLflow, requests, the driver of the database, the file system
            raise translated(error, self.address) from None


def translated(error: Exception, address: Address) -> Exception:
    """Returns an error of MLflow as Unavailable, Conflict or Rejected, with one line of text."""
    code, text = getattr(error, "error_code", type(error).__name__), str(error)
    brief = address.redacted((text.strip().splitlines() or [code])[0])[:300]
    if code == "RESOURCE_DOES_NOT_EXIST" or "must be in the 'active' state" in text:
        return Conflict("deletes what is sent at the same moment")
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED") or "error code 401" in text:
        return Unavailable(f"refuses access (HTTP status {403 if code == 'PERMISSION_DENIED' else 401}); {ACCESS}")
    twice = re.search("IntegrityError|UniqueViolation|duplicate key", text, re.IGNORECASE)
    if (code == "BAD_REQUEST" and twice) or code == "FileExistsError":
        return Conflict(f"received the same from another process: {brief}")
    if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"):
        return Rejected(f"rejected by MLflow: {brief}")
    if "timeout exception" in text or "timed out" in text:
        return Unavailable("does not answer in time")
    if status := re.search(r"too many (\d{3}) error responses", text):
        return Unavailable(f"fails with HTTP status {status[1]}")
    if "failed with exception" in text and "onnection" in text:
        return Unavailable("cannot be reached")
    return Unavailable(f"fails: {brief}")
