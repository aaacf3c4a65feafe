"""Joined, started again, refused, followed: on a cluster that is only a list of jobs."""

import http.server
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import requests

from pipeline.errors import EnvironmentFault, HeadLost, UserError
from pipeline.submission import dashboard, jobs, order


class Listed:
    """A job server's answers."""

    def __init__(self, *names: str, running: str = "") -> None:
        self.jobs = {name: name == running for name in names}
        self.twin = ""  # somebody else's submission, in the same moment

    def list_jobs(self) -> list[Any]:
        return [
            SimpleNamespace(submission_id=name, status=SimpleNamespace(is_terminal=lambda live=live: not live))
            for name, live in self.jobs.items()
        ]

    def submit_job(self, *, submission_id: str, **_: Any) -> str:
        if self.twin:
            self.jobs[self.twin], self.twin = True, ""
        if submission_id in self.jobs:
            raise RuntimeError("a job with this submission_id exists")
        self.jobs[submission_id] = True
        return submission_id

    def get_address(self) -> str:
        return "http://head:8265"


ORDER = order.Order(experiments=("tiny",), folder="/f", bundled=False, state="0123456789abcdef")


def started(server: Any) -> tuple[str, bool]:
    return jobs.start(server, ORDER, None, "commit")


def test_the_same_is_joined_while_it_runs_and_started_again_after() -> None:
    server = Listed()
    assert started(server) == (ORDER.name, False)
    assert started(server) == (ORDER.name, True)
    server.jobs[ORDER.name] = False
    assert started(server) == (f"{ORDER.name}-2", False)
    assert started(server) == (f"{ORDER.name}-2", True)
    server.jobs[f"{ORDER.name}-2"] = False
    assert started(server) == (f"{ORDER.name}-3", False)


def test_two_at_once_become_one() -> None:
    server = Listed()
    server.twin = ORDER.name
    assert started(server) == (ORDER.name, True)


def test_other_code_in_the_same_place_waits() -> None:
    other = replace(ORDER, state="fedcba9876543210").name
    with pytest.raises(UserError, match=f"{other}: works on tiny there, with other code or parameters"):
        started(Listed(other, running=other))
    assert started(Listed(other)) == (ORDER.name, False)
    elsewhere = replace(ORDER, folder="/g").name
    assert started(Listed(elsewhere, running=elsewhere)) == (ORDER.name, False)


def test_a_submission_that_is_refused() -> None:
    server = Listed()
    server.submit_job = lambda **_: (_ for _ in ()).throw(RuntimeError("no"))  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFault, match="the cluster refused the job"):
        started(server)


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [("SUCCEEDED", 0, 0), ("STOPPED", None, 143), ("FAILED", 255, 255), ("FAILED", 2, 2), ("FAILED", -9, 137)],
)
def test_exit_codes(status: str, driver: int | None, code: int) -> None:
    assert jobs.exit_code(SimpleNamespace(status=status, driver_exit_code=driver)) == code


def test_a_job_that_never_began_is_the_clusters_fault() -> None:
    job = SimpleNamespace(status="FAILED", driver_exit_code=None, message="no node\ntraceback", submission_id="tiny-1")
    with pytest.raises(EnvironmentFault, match="tiny-1: no node; the same command submits it again"):
        jobs.exit_code(job)


class Tails:
    """A log that is sent from its beginning every time, and breaks off."""

    def __init__(self, *tails: Sequence[str | Exception]) -> None:
        self.tails, self.left = iter(tails), len(tails)

    async def tail_job_logs(self, _name: str) -> AsyncIterator[str]:
        for text in next(self.tails):
            if isinstance(text, Exception):
                raise text
            yield text
        self.left = 0

    def get_job_info(self, _name: str) -> Any:
        return SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: self.left == 0))

    def get_address(self) -> str:
        return "http://head:8265"


BREAKS = [RuntimeError("closed"), aiohttp.ServerDisconnectedError(), ConnectionRefusedError("refused")]


def test_a_log_that_breaks_off_goes_on_where_it_was(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server: Any = Tails(
        ["one\n", "tw", BREAKS[0]], [BREAKS[1]], ["one\ntwo\n", BREAKS[2]], ["one\n", "two\n", "three\n"]
    )
    jobs.follow(server, "tiny-1")
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


@pytest.mark.parametrize("error", BREAKS)
def test_a_head_that_is_lost_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server: Any = Tails(["one\n"], *[[error] for _ in range(jobs.RECONNECTIONS + 1)])
    server.get_job_info = lambda _: SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: False))
    with pytest.raises(HeadLost, match=r"head:8265: the head .* does not answer any more; .* the same command follows"):
        jobs.follow(server, "tiny-1")


class Health(http.server.BaseHTTPRequestHandler):
    """A dashboard's word on the head; it may keep silent."""

    status = 200
    spoken = threading.Event()

    def do_GET(self) -> None:
        assert self.path == "/api/gcs_healthz"
        if self.status == 0:
            self.spoken.wait(60)
        self.send_response(self.status or 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def dashboard_that_says(status: int) -> Iterator[Any]:
    """A client of it."""
    spoken = threading.Event()
    kind = type("Own", (Health,), {"status": status, "spoken": spoken})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield SimpleNamespace(
            get_address=lambda: address,
            _do_request=lambda method, path, **how: requests.request(method, f"{address}{path}", **how),
        )
        spoken.set()
        server.shutdown()


@pytest.mark.parametrize(("status", "well"), [(200, True), (404, True), (503, False), (0, False)])
def test_what_a_dashboard_says_of_the_head(status: int, well: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "ANSWER_S", (60.0, 60.0 if status else 0.2))
    with dashboard_that_says(status) as client:
        assert dashboard._answers(client) == well
    assert not dashboard._answers(client)


def test_a_connection_that_breaks_is_one_line() -> None:
    with (
        dashboard_that_says(200) as client,
        pytest.raises(EnvironmentFault, match=r"127.0.0.1:\d+: reset; give the same command again"),
        dashboard.attended(client),
    ):
        raise requests.ConnectionError("reset\nby peer")
