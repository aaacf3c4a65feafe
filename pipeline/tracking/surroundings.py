"""This process and this machine, made fit for MLflow's client."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.tracking.faults import Away

TIMEOUT_S = 10  # of one request
LOCK_S = 60  # for another process that makes the database's tables


def prepare_environment() -> None:
    """Before mlflow is imported. Retries are the writer's: MLflow's own would hold one request for four minutes."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    for name, value in {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(TIMEOUT_S),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(name, value)


def silence() -> None:
    """After it is imported, which sets its loggers up. What matters is in our own line."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def alone_with(database: Path | None) -> Iterator[None]:
    """The only process on this machine that opens the SQLite file for the first time."""
    if database is None:
        yield
        return
    try:
        with database.with_name(f".{database.name}.lock").open("w") as file:
            _lock(file)
            yield
    except OSError as error:
        raise Away(f"cannot be written: {error.strerror}") from None


def _lock(file: IO[str]) -> None:
    for _ in range(LOCK_S * 10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.1)
    raise Away("is locked by another process")
