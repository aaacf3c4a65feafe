"""What the doctor says of MLflow: a server that answers, refuses, fails or is gone, and files of SQLite."""

import http.server
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.checks import mlflow_server

CANARY = "canary-7d1f02-passphrase"


class Answering(http.server.BaseHTTPRequestHandler):
    """MLflow's answer to a search for experiments, for those who know the password."""

    status = 200

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        status = self.status if self.headers.get("Authorization") else 401
        body = b'{"experiments": []}' if status == 200 else b"You are not authenticated."
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def answering(status: int) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Answering,), {"status": status}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_mlflow_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    said = []
    with answering(200) as uri:
        for name, password in ((None, None), ("someone", CANARY)):
            if name and password:
                monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
                monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
            said.append(str(mlflow_server.line()))
    with answering(503) as ill:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", ill)
        said.append(str(mlflow_server.line()))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # nobody listens there any more
    said.append(str(mlflow_server.line()))
    refused_, well, failing, gone = said
    assert (
        refused_ == f"mend MLflow: {uri}: refuses access (HTTP status 401); check MLFLOW_TRACKING_USERNAME and "
        "_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    )
    assert well == f"ok MLflow: {uri}: there"
    assert failing.startswith(f"mend MLflow: {ill}: fails with HTTP status 503; start it")
    assert gone.startswith(f"mend MLflow: {uri}: cannot be reached; start it")
    assert [line for line in said if CANARY in line] == []


def test_mlflow_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_server.line().ok
    assert list(tmp_path.iterdir()) == []  # not made by looking
    sqlite3.connect("mlflow.db").execute("CREATE TABLE runs (name TEXT)").connection.close()
    assert mlflow_server.line().ok
    Path("mlflow.db").write_bytes(b"no database at all" * 100)
    assert "mlflow.db: no database of ours (file is not a database); move it away" in str(mlflow_server.line())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all.db")
    assert "the folder /nowhere/at is not there; make it first" in str(mlflow_server.line())
