"""Whether MLflow takes what the driver will send. No credential is shown."""

import os
import sqlite3
from contextlib import closing

from pipeline.checks.line import Line, refused
from pipeline.errors import UserError
from pipeline.tracking.address import Address, address
from pipeline.tracking.faults import Away, brief, translated
from pipeline.tracking.surroundings import prepare_environment, silence

SET = (
    "start it, or set MLFLOW_TRACKING_URI to another; `python -m pipeline.track EXPERIMENT` sends later what was missed"
)


def line() -> Line:
    """The doctor's."""
    try:
        where = address()
    except UserError as error:
        return refused("MLflow", error)
    wrong, mend = _file(where) if where.database is not None else _server(where)
    return Line("MLflow", f"{where.shown}: {wrong or 'there'}", mend if wrong else "")


def _file(where: Address) -> tuple[str, str]:
    """What is wrong with a SQLite file, which is not made here; empty where nothing is."""
    assert where.database is not None
    if not os.access(where.database.parent, os.W_OK):
        return "its folder cannot be written", "set MLFLOW_TRACKING_URI to a file in a folder that you can write"
    if where.database.exists():
        try:
            with closing(sqlite3.connect(f"{where.database.as_uri()}?mode=rw", uri=True)) as database:
                database.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error as error:
            return f"no database of ours ({error})", "move it away, or set MLFLOW_TRACKING_URI to another file"
    return "", ""


def _server(where: Address) -> tuple[str, str]:
    """What is wrong with a server, asked as the stages ask it, with the credentials of the environment."""
    prepare_environment()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    silence()
    try:
        MlflowClient(tracking_uri=where.uri).search_experiments(max_results=1)
    except MlflowException as error:
        fault = translated(error.error_code, str(error), where)
        text = str(fault) or "does not answer as MLflow does"
        seen, _, mend = text.partition("; ") if isinstance(fault, Away) else (text, "", "")
        return seen, mend or SET
    except Exception as error:  # of requests, of the database's driver
        return f"fails: {brief(f'{type(error).__name__}: {error}', where)}", SET
    return "", ""
