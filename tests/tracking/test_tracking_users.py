"""MLflow with users, as docs/cluster.md starts it: rows arrive, a wrong password costs none, no secret is left."""

import base64
import csv
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from pipeline.checks import mlflow_server
from tests.kills import Watched
from tests.tracking_maker import Server
from tests.workspace import Workspace, make

USER = "admin"
PASSWORD = "canary 7e/1c@5d%phrase"  # such as must be quoted in an address
WRONG = "canary-of-somebody-else"
TOKEN = "ca9a51" * 10
NEEDLES = [
    needle.encode()
    for word in (PASSWORD, WRONG, TOKEN)
    for needle in (word, quote(word, safe=""), quote_plus(word), base64.b64encode(f"{USER}:{word}".encode()).decode())
]


class ServerWithUsers(Server):
    words = ("--app-name", "basic-auth")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = ServerWithUsers(tmp_path_factory.mktemp("server"))
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)
            environment.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "of no use to anybody")
            made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def sessions() -> Iterator[Path]:
    """Ray's. Short, for the paths of sockets in it may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_users(server: Server, sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make(tmp_path / "w", {"tiny.networks": {"resnet-18": None}, "tiny.seeds": [0]})
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_TMPDIR": str(sessions)}
    workspace = Workspace(plain.folder, {**ray, "MLFLOW_TRACKING_URI": server.uri, "MLFLOW_TRACKING_USERNAME": USER})
    said = [wrong_password(workspace, server, monkeypatch)]
    in_the_address = Workspace(workspace.folder, {**ray, "MLFLOW_TRACKING_URI": with_credentials(server.uri)})
    said.append(in_the_address.run("python", "-m", "pipeline.track", "tiny"))
    assert f"MLflow ({server.uri})" in said[-1]
    assert arrived(server) == rows(workspace) != []
    said.append(right_password(workspace))
    assert arrived(server) == rows(workspace)
    assert len(workspace.weights()) == 2
    assert [needle for needle in NEEDLES for text in said if needle in text.encode()] == []
    kept = [path for root in (workspace.folder, server.folder, sessions) for path in root.rglob("*") if path.is_file()]
    for path in (server.database.path, server.folder / "basic_auth.db", server.log):
        assert path in kept
    assert any(path.name.startswith("python-core-driver") for path in kept)
    assert [(path, needle) for path in kept for needle in NEEDLES if needle in path.read_bytes()] == []


def with_credentials(uri: str) -> str:
    return uri.replace("//", f"//{USER}:{quote(PASSWORD, safe='')}@")


def wrong_password(workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Training does not notice; one line says it when it comes up, and the last one how to send what is missing."""
    workspace.variables["MLFLOW_TRACKING_PASSWORD"] = WRONG
    output = workspace.stage("train")
    assert len(workspace.weights()) == 1
    assert arrived(server) == []
    mend = "refuses access (HTTP status 401); check MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
    (warning,) = [line for line in output.splitlines() if line.startswith("WARNING")]
    assert warning.endswith(f"MLflow ({server.uri}) {mend}; the runs go on, what it misses is sent later")
    assert "HTTP status 401" in output.splitlines()[-1]
    assert output.splitlines()[-1].endswith("later: python -m pipeline.track tiny")
    with monkeypatch.context() as environment:
        for name, value in workspace.variables.items():
            if name.startswith("MLFLOW_"):
                environment.setenv(name, value)
        assert str(mlflow_server.line()) == f"mend MLflow: {server.uri}: {mend}"
    return output


def right_password(workspace: Workspace) -> str:
    """A second run, whose rows are sent as they come; all that is logged is said, and no process shows a secret."""
    workspace.variables["MLFLOW_TRACKING_PASSWORD"] = PASSWORD
    workspace.configure({"tiny.networks": {"resnet-18": None}, "tiny.seeds": [0, 1]})
    workspace.variables["LOG_LEVEL"] = "DEBUG"
    watched = Watched(workspace.start("python", "-m", "pipeline.train", "tiny"))
    workers = 0
    while watched.process.poll() is None:
        arguments = command_lines()
        workers += any(b"default_worker.py" in line or line.startswith(b"ray::") for line in arguments)
        assert [line for line in arguments for needle in NEEDLES if needle in line] == []
        time.sleep(0.1)
    assert (watched.end(), workers > 0) == (0, True), watched.lines
    return "".join(watched.lines)


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:  # it has ended
            continue
    return found


def arrived(server: Server) -> list[int]:
    """Iterations of the losses that MLflow has, of all runs."""
    return [step for (step,) in server.database.ask("SELECT step FROM metrics WHERE key = 'train/loss' ORDER BY step")]


def rows(workspace: Workspace) -> list[int]:
    """Iterations of the rows of all runs' histories."""
    found = []
    for path in (workspace.folder / "runs" / "tiny").glob("*/history.csv"):
        with path.open(newline="") as file:
            found += [int(row["iteration"]) for row in csv.DictReader(file)]
    return sorted(found)
