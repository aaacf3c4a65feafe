"""The lease of a run: one process holds it, the next takes over from a dead one, a superseded one writes no more."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.run_store import lease
from pipeline.run_store.lease import Busy, Superseded, acquire
from pipeline.storage import create, make_folder, write_bytes
from tests.factories.stores import KINDS, New, stores
from tests.factories.workspace import ROOT

HOLD = """
import sys
from pipeline.run_store import lease
from pipeline.storage import locate
try:
    with lease.acquire(locate(sys.argv[1])) as held:
        print("held", held.number, flush=True)
        sys.stdin.readline()
        held.require()
        print("still held", flush=True)
except (lease.Busy, lease.Superseded) as error:
    print(type(error).__name__, flush=True)
"""


@contextmanager
def holder(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that takes the lease, and checks it when a line is sent to it."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(scope="module", params=KINDS)
def new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[New]:
    with stores(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def folder(new: New) -> Path:
    return new() / ("a" * 64)


def of_another_machine(**changes: Any) -> bytes:
    values = {"token": "other", "pid": 1, "started": 0.0, "machine": "another", "node": "n2", "count": 3}
    return json.dumps(values | changes).encode()


def test_one_holder_at_a_time_and_the_next_when_it_is_killed(folder: Path) -> None:
    with holder(folder) as first:
        assert line(first) == "held 1"
        for _ in range(2):
            with pytest.raises(Busy), acquire(folder):
                pass
        first.kill()
        first.wait()
    (folder / ".lease-000001.7.tmp").write_bytes(b"")  # of a renewal that the kill interrupted
    with acquire(folder, node="n1") as mine:
        assert mine.number == 2
        assert list(folder.glob(".lease-*")) == []
        state = lease.read(folder)
        assert state is not None
        assert (state.pid, state.node, state.has_died) == (os.getpid(), "n1", False)
        with pytest.raises(Busy), acquire(folder):
            pass
    assert lease.read(folder) is None
    with acquire(folder) as again:
        assert again.number == 3  # numbers only grow


def test_a_holder_elsewhere_that_no_longer_renews_is_superseded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(folder)
    assert create(folder / "lease-000041", of_another_machine())
    with pytest.raises(Busy), acquire(folder):
        pass
    monkeypatch.setattr(lease, "STALE_S", -1e9)  # whatever its age
    with acquire(folder) as mine:
        assert mine.number == 42
        assert [path.name for path in folder.glob("lease-*")] == ["lease-000042"]
        with acquire(folder) as later:
            with pytest.raises(Superseded, match=r"^attempt 42 was overtaken by another one; it writes nothing more$"):
                mine.require()
            later.require()
    with pytest.raises(Superseded):
        later.require()  # it was released


def test_a_suspended_holder_that_returns_writes_nothing_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holder(folder) as first:
        assert line(first) == "held 1"
        first.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(Busy), acquire(folder):
            pass
        monkeypatch.setattr(lease, "STALE_S", -1e9)  # as if it had been suspended for long
        with acquire(folder) as mine:
            first.send_signal(signal.SIGCONT)
            first.communicate("go on\n")
            mine.require()
            assert len(list(folder.glob("lease-*"))) == 1


class Times(threading.Event):
    """An event that is set after so many waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waits -= 1
        return self.waits < 0


def test_a_renewal_carries_the_progress_of_the_run(folder: Path) -> None:
    with acquire(folder) as mine:
        mine.update(iteration=7, seconds=1.5)
        mine.keep(Times(2))
        state = lease.read(folder)
        assert state is not None
        assert (state.count, state.progress) == (2, {"iteration": 7, "seconds": 1.5})
        write_bytes(folder / "lease-000002", of_another_machine())
        mine.path.unlink()  # as a later holder does
        mine.keep(Times(2))
        assert [path.name for path in folder.glob("lease-*")] == ["lease-000002"]


def test_of_many_processes_that_take_it_at_once_one_holds_it(tmp_path: Path) -> None:
    """Eight processes, on a folder in which a dead process held the lease."""
    folder = tmp_path / "key"
    with holder(folder) as dead:
        assert line(dead) == "held 1"
        dead.kill()
        dead.wait()
    words = [sys.executable, "-c", HOLD, str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(words, cwd=ROOT, **pipes) for _ in range(8)]
    try:
        assert sorted(line(process) for process in processes) == ["Busy"] * 7 + ["held 2"]
        outputs = [process.communicate("\n")[0] for process in processes]
        assert sorted(outputs)[-1] == "still held\n"
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b'{"token": 3}', b"\xff"])
def test_a_lease_that_was_cut_short_is_held_until_it_is_stale(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without hard links a kill may leave one."""
    (tmp_path / "lease-000001").write_bytes(content)
    with pytest.raises(Busy), acquire(tmp_path):
        pass
    monkeypatch.setattr(lease, "STALE_S", -1e9)
    with acquire(tmp_path) as mine:
        assert mine.number == 2


def test_a_process_that_reuses_an_id_is_another_one() -> None:
    mine = psutil.Process()
    assert lease.same_process(mine.pid, mine.create_time())
    assert not lease.same_process(mine.pid, mine.create_time() - 60)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie
        assert not lease.same_process(child.pid, psutil.Process(child.pid).create_time())
