"""A real MLflow server with users: it refuses strangers, and no secret is shown."""

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from pipeline.records import write_json
from pipeline.run_store.run_folder import RunFolder
from pipeline.tracking.sync import Updater, sync
from tests.factories.tracking import NAME, Server, rows, spec, write_checkpoint, write_data

pytestmark = pytest.mark.slow
PASSWORD = "canary 7e/1c@5d%phrase"  # must be quoted in an address
WRONG = "canary-of-somebody-else"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server in an empty working folder that is set to use it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "of no use to anybody")
    made = Server(tmp_path / "server", "--app-name", "basic-auth")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    try:
        made.start()
        yield made
    finally:
        made.kill()


def test_users(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "store" / spec(21).key
    write_data()
    write_checkpoint(folder, 21, rows(5))
    in_address = server.uri.replace("//", f"//admin:{quote(PASSWORD, safe='')}@")
    reason = f"request to {in_address} with {PASSWORD} failed"
    Path("runs", NAME).mkdir(parents=True)
    write_json(Path("runs", NAME, "failed.json"), [{"run": "r", "key": spec(21).key, "reason": reason}])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WRONG)
    lines = [sync(NAME).line()]
    assert server.database.runs(21) == []
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", in_address)
    updater = Updater(NAME, [(spec(21), RunFolder(folder))])
    updater.update(over=True)
    server.database.holds_once(21, rows(5))
    failure = server.database.table(21, "tags")["failure"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", in_address.replace(f":{server.port}", ":9"))  # where no server listens
    lines += [sync(NAME).line(), failure]
    assert lines[0].startswith(f"MLflow ({server.uri}) refuses access (HTTP status 401); check MLFLOW_TRACKING_USER")
    assert "cannot be reached" in lines[1]
    words = [(word, quote(word, safe=""), quote_plus(word)) for word in (PASSWORD, WRONG)]
    basic = [base64.b64encode(f"admin:{word}".encode()).decode() for word in (PASSWORD, WRONG)]
    secrets = [*(form for forms in words for form in forms), *basic]
    assert [secret for secret in secrets if secret in "\n".join([*lines, caplog.text])] == []
    kept = [path for path in server.folder.rglob("*") if path.is_file()]
    assert {server.database.path, server.folder / "basic_auth.db", server.log} <= {*kept}
    assert [(path, secret) for path in kept for secret in secrets if secret.encode() in path.read_bytes()] == []
