"""A real MLflow in a SQLite file: every row once, whatever is killed, repeated or done by two at once."""

import argparse
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import EnvironmentFault
from pipeline.records import write_json
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RunFolder
from pipeline.tracking import sync as tracking
from pipeline.tracking import view
from pipeline.tracking.client import Client
from pipeline.tracking.sync import Updater, sync, syncing
from tests.factories import params
from tests.factories.tracking import (
    NAME,
    Database,
    new_database,
    rows,
    spec,
    until,
    write_checkpoint,
    write_data,
    write_finished,
    write_project,
    write_result,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def use(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    return database


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    return use(new_database(tmp_path / "mlflow"), monkeypatch)


def said(database: Database, runs: str) -> str:
    """The line after a sync, with the page that `make ui` serves."""
    return f"MLflow ({database.uri}) has {runs} of digits: {view.link(view.LOCAL, '1')}"


def test_what_is_on_disk_is_sent_once(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    write_project(250)
    assert sync(NAME).line() == said(database, "2 runs")
    content = database.content()
    assert sync(NAME).problem is None
    assert database.content() == content
    for number in (1, 2):
        database.holds_once(number, rows(250))
        assert database.status(number) == "FINISHED"
    assert database.table(1, "latest_metrics")["final/test_top1_error"] == 9.0
    assert "final/test_top1_error" not in database.table(2, "latest_metrics")
    assert {"run_key": spec(1).key, "depth": "20", "device": "cpu"}.items() <= database.table(1, "tags").items()
    assert database.ask("SELECT name FROM datasets") == [("cifar10",)]
    assert dict(database.ask("SELECT key, value FROM experiment_tags")) == view.tags(NAME, "1")
    files = sorted(path.name for path in database.path.parent.rglob("artifacts/**/*") if path.is_file())
    assert files == ["curve.svg", *["history.csv"] * 2, "report.md", *["run.json"] * 2, *["weights.json"] * 2]
    assert capfd.readouterr() == ("", "")


class Killed(BaseException):
    """Ends a process between two calls."""


def kill_at(number: int, before: bool, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Kills at this call to MLflow, before it or before its answer is read. Returns how many calls there were."""
    calls, ask = 0, Client.ask

    def counted(self: Client, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and before:
            raise Killed
        answer = ask(self, function, *arguments, **options)
        if calls == number:
            raise Killed
        return answer

    monkeypatch.setattr(Client, "ask", counted)
    return lambda: calls


@pytest.mark.slow
def test_killed_between_any_two_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(300, runs=1)
    whole = use(new_database(tmp_path / "whole"), monkeypatch)
    with monkeypatch.context() as patch:
        calls = kill_at(0, True, patch)
        assert sync(NAME).problem is None
    assert calls() >= 15
    for number in range(1, calls() + 1):
        for before in (True, False):
            database = use(new_database(tmp_path / f"{number}{before}"), monkeypatch)
            with monkeypatch.context() as patch:
                kill_at(number, before, patch)
                with pytest.raises(Killed):
                    Updater(NAME).update()
            assert sync(NAME).problem is None
            assert database.content() == whole.content(), (number, before)


def test_a_run_from_its_first_checkpoint_to_its_end(database: Database, tmp_path: Path) -> None:
    write_data()
    folder = RunFolder(tmp_path / "store" / spec().key)
    updater = Updater(NAME, [(spec(), folder), (spec(2), RunFolder(tmp_path / "store" / spec(2).key))])
    updater.update()
    assert database.runs(1) == []  # it has not begun
    with lease.acquire(folder.path):
        updater.update()
        assert (database.status(1), database.values(1, "epoch")) == ("RUNNING", {})
        for count in (40, 90, 90):
            write_checkpoint(folder.path, 1, rows(count))
            updater.update()
            database.holds_once(1, rows(count))
    updater.update()
    assert database.status(1) == "KILLED"
    Path("runs", NAME).mkdir(parents=True)
    write_json(Path("runs", NAME, "failed.json"), [{"run": spec().name, "key": spec().key, "reason": "worker lost"}])
    Updater(NAME, [(spec(), folder)]).update(over=True)
    assert (database.status(1), database.table(1, "tags")["failure"]) == ("FAILED", "worker lost")
    write_finished(1, rows(120), folder.path)
    updater.update()
    database.holds_once(1, rows(120))
    assert (database.status(1), database.table(1, "tags")["failure"]) == ("FINISHED", "")
    assert database.runs(2) == []


def test_the_train_stage_prints_one_line(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "INTERVAL_S", 0.05)
    write_data()
    folder = tmp_path / ".runs" / spec().key
    made: Any = SimpleNamespace(name=NAME, storage=".runs")
    with syncing(made, [spec()]):
        write_checkpoint(folder, 1, rows(20))
        until(lambda: bool(database.runs(1)))
        write_finished(1, rows(30), folder)
    assert capfd.readouterr() == (said(database, "1 run") + "\n", "")
    database.holds_once(1, rows(30))


def test_a_second_evaluation_replaces_the_first(database: Database) -> None:
    write_finished(1, rows(10))
    for errors in (900, 700):
        write_result(1, errors)
        assert sync(NAME).problem is None
        assert database.table(1, "latest_metrics")["final/test_top1_error"] == errors / 100
    query = "SELECT key FROM metrics WHERE key LIKE 'final/test%' ORDER BY key"
    assert database.ask(query) == [("final/test_loss",), ("final/test_top1_error",), ("final/test_top1_error",)]


def test_what_a_user_deleted_stays_deleted(database: Database) -> None:
    write_project(20)
    assert sync(NAME).problem is None
    database.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", database.run(1))
    outcome = sync(NAME)
    assert list(outcome.skipped) == [spec(1).name]
    assert outcome.line() == f"{said(database, '1 run')}; cifar-resnet-20-seed1: deleted in MLflow, and stays deleted"
    assert (database.runs(1), outcome.problem) == ([], None)
    database.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = ?", NAME)
    assert "has deleted the experiment digits" in sync(NAME).line()
    assert "mlflow experiments restore -x 1; later: python -m pipeline sync digits" in sync(NAME).line()


def test_what_was_changed_or_is_of_another_key_is_not_sent(database: Database) -> None:
    write_project(20, runs=3)
    history = Path("runs", NAME, spec(2).name, "history.csv")
    history.write_bytes(history.read_bytes().replace(b"2", b"3"))
    section = params.params()["tiny"] | {"seeds": [3], "networks": {"cifar-resnet-20": None}}
    section["data"], section["train"]["batch_size"] = {"dataset": "cifar10", "source": "x", "validation": 2}, 2
    params.write(Path("params.yaml"), {**params.params({"experiments": [NAME]}), NAME: section})
    skipped = sync(NAME).skipped
    assert database.runs(1)
    assert not database.runs(2) + database.runs(3)
    assert (
        "history.csv: not what the run wrote; make it again with: python -m pipeline train digits"
        in skipped[spec(2).name]
    )
    assert "run.json: of other parameters, data or code" in skipped[spec(3).name]


def test_a_locked_database_delays_no_stage_and_loses_nothing(database: Database) -> None:
    write_project(100)
    with contextlib.closing(sqlite3.connect(database.path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        outcome = sync(NAME, patience_s=0.5)
        assert time.monotonic() - began < 5
        assert outcome.line().endswith("did not answer in time; later: python -m pipeline sync digits")
        connection.execute("ROLLBACK")
    assert sync(NAME).problem is None
    database.holds_once(1, rows(100))


@pytest.mark.slow
def test_two_at_once_on_a_file_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(50, runs=4)
    database = Database(tmp_path / "mlflow.db")
    use(database, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = "from pipeline.tracking.sync import sync; print(sync('digits').line())"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    expected = said(database, "4 runs") + "\n"
    assert [(each.communicate()[0], each.returncode) for each in both] == [(expected, 0)] * 2
    for number in range(1, 5):
        database.holds_once(number, rows(50))


def test_the_command(database: Database, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    write_project(5)
    params.write(Path("params.yaml"), {**params.params({"experiments": [NAME]}), NAME: params.params()["tiny"]})
    tracking.main(argparse.Namespace(experiment=NAME))
    assert capfd.readouterr() == (said(database, "2 runs") + "\n", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentFault, match="cannot be reached; later: python -m pipeline sync digits"):
        tracking.main(argparse.Namespace(experiment=NAME))
