"""MLflow as a server that dies, hangs, refuses or is away: no call waits for it, no point is lost or doubled."""

import http.server
import logging
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking import Invocation, Tracker, tracker
from tests.tracking_maker import Server, facts, finished, key, rows, until

CANARY = "canary-5c1d7e-passphrase"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults that take minutes by the clock take seconds."""
    monkeypatch.setattr(tracker, "FLUSH_S", 0.1)
    monkeypatch.setattr(tracker, "FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(tracker, "LONGEST_PAUSE_S", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def test_a_server_that_is_killed_in_mid_run_and_comes_back(server: Server, tmp_path: Path) -> None:
    history = rows(900)
    tracking = Tracker("killed", uri=server.uri)
    tracking.begin(facts(11))
    for part in history[:400]:
        tracking.rows(key(11), [part])
    until(lambda: bool(server.database.runs(11)) and bool(server.database.steps(11, "epoch")))
    for part in history[400:600]:
        tracking.rows(key(11), [part])  # some of them are on their way now
    server.kill()
    assert not server.answers()
    for part in history[600:]:
        tracking.rows(key(11), [part])
    tracking.begin(facts(12))
    tracking.finish(*finished(tmp_path, 11, history))
    server.start()
    tracking.rows(key(12), rows(10))
    outcome = tracking.close(60)
    assert outcome.complete, outcome
    server.database.holds_once(11, history)
    server.database.holds_once(12, rows(10))
    assert (server.database.status(11), server.database.status(12)) == ("FINISHED", "KILLED")
    artifacts = server.folder.rglob(f"{server.database.run(11)}/artifacts/*")
    assert sorted(path.name for path in artifacts) == ["history.csv", "run.json", "weights.json"]


def test_a_server_that_hangs_holds_no_call(server: Server) -> None:
    history = rows(1500)
    tracking = Tracker("hangs", uri=server.uri)
    tracking.begin(facts(21))
    tracking.rows(key(21), history[:10])
    until(lambda: bool(server.database.runs(21)) and len(server.database.steps(21, "epoch")) == 10)
    server.signal(signal.SIGSTOP)
    until(lambda: server.state() == "T")  # a signal is sent before it is felt
    try:
        done = 0
        for part in history[10:]:
            tracking.rows(key(21), [part])
            done += 1
        tracking.begin(facts(22))
        state = server.state()  # after all of these calls it has still not moved
        until(lambda: tracking._reason is not None)
    finally:
        server.signal(signal.SIGCONT)
    assert (done, state) == (1490, "T")
    outcome = tracking.close(60)
    assert outcome.complete, outcome
    server.database.holds_once(21, history)
    assert len(server.database.runs(22)) == 1


def test_a_hanging_server_does_not_hold_the_end_either(server: Server) -> None:
    server.signal(signal.SIGSTOP)
    try:
        tracking = Tracker("end", uri=server.uri)
        tracking.begin(facts(31))
        tracking.rows(key(31), rows(7))
        outcome = tracking.close(0.5)
        assert server.state() == "T"
    finally:
        server.signal(signal.SIGCONT)
    assert outcome.unsent == {"cifar-resnet-20-seed31": 7}
    assert outcome.line().endswith("not sent 7 rows of 1 run; later: python -m pipeline.track end")


def test_two_trackers_at_once(server: Server) -> None:
    both = [Tracker("two", uri=server.uri) for _ in range(2)]
    for part in rows(200):
        for number, tracking in enumerate(both):
            if part.iteration == 1:
                tracking.begin(facts(41 + number))
                tracking.begin(facts(43))  # the same run, from two drivers
            tracking.rows(key(41 + number), [part])
            tracking.rows(key(43), [part])
    assert all(tracking.close(60).complete for tracking in both)
    for number in (41, 42, 43):
        server.database.holds_once(number, rows(200))


def test_no_secret_leaves_the_process(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", f"{CANARY}-user")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", CANARY)
    uri = server.uri.replace("//", f"//{CANARY}-name:{CANARY}-word@")
    asked = Invocation(command=f"python -m pipeline.train secret --uri {uri} {CANARY}", asked=())
    tracking = Tracker("secret", uri=uri, invocation=asked)
    tracking.begin(facts(51))
    tracking.fail(key(51), f"request to {uri} failed")
    until(lambda: bool(server.database.runs(51)) and server.database.status(51) == "FAILED")
    tracking.begin(facts(51))
    tracking.finish(*finished(tmp_path, 51, rows(5)))
    outcome = tracking.close(60)
    assert outcome.complete, outcome
    away = Tracker("secret", uri=re.sub(r":\d+$", ":9", uri))  # a port where nobody listens
    away.begin(facts(52))
    gone = away.close(2, silence_s=1)
    assert "cannot be reached" in gone.line()
    server.database.holds_once(51, rows(5))
    texts = [outcome.line(), gone.line(), repr(outcome), repr(gone), caplog.text]
    assert not any(CANARY in text for text in texts)
    kept = [path for path in server.folder.rglob("*") if path.is_file()]
    assert server.database.path in kept
    assert not any(CANARY.encode() in path.read_bytes() for path in kept)


class Stranger(http.server.BaseHTTPRequestHandler):
    """A server that is no MLflow, or one that does not know us."""

    status = 401

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<html>No.</html>")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Elsewhere(Stranger):
    status = 404


class Broken(Stranger):
    status = 500


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Stranger, "refuses access (HTTP status 401); check MLFLOW_TRACKING_USERNAME"),
        (Elsewhere, "fails: API request to endpoint"),
        (Broken, "fails with HTTP status 500"),
    ],
)
def test_a_server_that_refuses_is_told_of_once(
    kind: type[Stranger], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        tracking = Tracker("digits", uri=f"http://127.0.0.1:{stranger.server_address[1]}")
        tracking.begin(facts())
        tracking.rows(key(1), rows(5))
        until(lambda: tracking._reason is not None)
        outcome = tracking.close(3, silence_s=1)
        stranger.shutdown()
    assert said in outcome.line()
    assert outcome.unsent == {"cifar-resnet-20-seed1": 5}
    assert len([entry for entry in caplog.records if entry.name == "pipeline.tracking.tracker"]) == 1
