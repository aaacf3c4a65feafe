"""MLflow as a file: every row once, whatever is sent again, and runs that say what they are."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.tracking import Invocation, Tracker
from tests.tracking_maker import Database, facts, finished, fresh_database, key, record, row, rows, until

ROOT = Path(__file__).resolve().parents[2]
ASKED = Invocation(command="python -m pipeline.train digits", asked=("a", "b"), reused=("b",))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return fresh_database(tmp_path)


def tracker(database: Database, invocation: Invocation | None = None) -> Tracker:
    return Tracker("digits", uri=f"sqlite:///{database.path}", invocation=invocation)


def test_a_run_is_there_with_all_that_belongs_to_it(
    database: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    history = rows(250)
    done, folder = finished(tmp_path, 1, history)
    tracking = tracker(database, ASKED)
    tracking.begin(facts())
    for part in history:
        tracking.rows(key(1), [part])
    tracking.finish(done, folder)
    outcome = tracking.close(60)
    assert outcome.complete, outcome
    assert outcome.line().endswith("has 1 run of digits")
    database.holds_once(1, history)
    assert database.status(1) == "FINISHED"
    assert database.params(1)["lr_drops"] == "[32000, 48000]"
    assert database.params(1)["stride_on"] == "1x1"
    tags = database.tags(1)
    assert {
        "run_key": key(1),
        "depth": "20",
        "seed": "1",
        "device": "cpu",
        "status": "finished",
    }.items() <= tags.items()
    assert "8.75 % top-1 error (test, single view; He et al. 2015, Table 6)" in tags["mlflow.note.content"]
    latest = database.latest(1)
    assert (latest["final/val_top1_error"], latest["paper/top1_error"], latest["parameters"]) == (9.5, 8.75, 269722)
    assert database.ask("SELECT name, digest FROM datasets") == [("cifar10", "d" * 36)]
    files = tmp_path / "files" / database.run(1) / "artifacts"
    assert sorted(path.name for path in files.iterdir()) == ["history.csv", "run.json", "weights.json"]
    assert json.loads((files / "weights.json").read_text())["sha256"] == "e" * 64
    parent = tags["mlflow.parentRunId"]
    assert database.ask("SELECT status FROM runs WHERE run_uuid = ?", parent) == [("FINISHED",)]
    ((note,),) = database.ask("SELECT value FROM tags WHERE run_uuid = ? AND key = 'mlflow.note.content'", parent)
    assert "cifar-resnet-20-seed1: finished" in note
    assert "b: reused" in note
    assert ASKED.command in note
    assert capfd.readouterr() == ("", "")


def test_points_have_the_times_of_their_rows(database: Database) -> None:
    tracking = tracker(database)
    tracking.begin(facts())
    tracking.rows(key(1), rows(3))
    tracking.close(60)
    times = database.ask("SELECT DISTINCT timestamp FROM metrics ORDER BY timestamp")
    assert times == [(int(part.unix_time_s * 1000),) for part in rows(3)]


def test_a_resumed_run_may_send_its_whole_history_again(database: Database, tmp_path: Path) -> None:
    for count in (40, 90):
        tracking = tracker(database)
        tracking.begin(facts())
        tracking.rows(key(1), rows(count))
        tracking.rows(key(1), rows(count))
        assert tracking.close(60).complete
        assert database.status(1) == "KILLED"
        database.holds_once(1, rows(count))
    done, folder = finished(tmp_path, 1, rows(120))
    tracking = tracker(database)
    tracking.begin(facts())
    tracking.finish(done, folder)  # rows that were never sent are in its file
    assert tracking.close(60).complete
    assert database.status(1) == "FINISHED"
    database.holds_once(1, rows(120))


def test_nothing_is_added_for_a_run_that_is_there(database: Database, tmp_path: Path) -> None:
    done, folder = finished(tmp_path, 1, rows(30))
    contents = []
    for _ in range(2):
        tracking = tracker(database)
        tracking.finish(done, folder, "cifar10")
        assert tracking.close(60).complete
        contents.append(database.content())
    assert contents[0] == contents[1]


def test_a_run_that_fails_and_is_tried_again(database: Database, tmp_path: Path) -> None:
    tracking = tracker(database)
    tracking.begin(facts())
    tracking.rows(key(1), rows(5))
    tracking.fail(key(1), "worker lost")
    until(lambda: bool(database.runs(1)) and database.status(1) == "FAILED")
    assert database.tags(1)["failure"] == "worker lost"
    tracking.begin(facts())
    until(lambda: database.status(1) == "RUNNING")
    tracking.finish(*finished(tmp_path, 1, rows(9)))
    assert tracking.close(60).complete
    assert database.status(1) == "FINISHED"
    database.holds_once(1, rows(9))


def test_values_that_are_not_finite_are_named_and_left_out(database: Database, tmp_path: Path) -> None:
    history = [*rows(7), row(8, float("inf")), row(9, float("nan"))]
    tracking = tracker(database)
    tracking.begin(facts())
    tracking.rows(key(1), history)
    tracking.finish(*finished(tmp_path, 1, history, "diverged"))
    assert tracking.close(60).complete
    assert database.steps(1, "train/loss") == list(range(1, 8))
    assert database.steps(1, "epoch") == list(range(1, 10))
    assert database.tags(1)["non_finite"] == "train/loss from iteration 8"
    assert (database.tags(1)["status"], database.status(1)) == ("diverged", "FINISHED")


def test_eight_runs_of_a_thousand_rows(database: Database) -> None:
    tracking = tracker(database)
    for number in range(1, 9):
        tracking.begin(facts(number))
    for part in rows(1000):
        for number in range(1, 9):
            tracking.rows(key(number), [part])
    assert tracking.close(120).complete
    for number in range(1, 9):
        database.holds_once(number, rows(1000))


def test_a_run_deleted_in_mlflow_is_left_alone(database: Database) -> None:
    tracking = tracker(database)
    for number in (1, 2):
        tracking.begin(facts(number))
        tracking.rows(key(number), rows(3))
    until(lambda: bool(database.runs(1) and database.runs(2)) and len(database.steps(2, "epoch")) == 3)
    with sqlite3.connect(database.path, timeout=30) as connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (database.run(1),))
    connection.close()
    for number in (1, 2):
        tracking.rows(key(number), rows(20))
    outcome = tracking.close(60)
    assert list(outcome.stopped) == ["cifar-resnet-20-seed1"]
    assert "deleted in MLflow" in outcome.line()
    assert database.runs(1) == []
    database.holds_once(2, rows(20))


def test_an_experiment_deleted_in_mlflow_is_left_alone(database: Database) -> None:
    with sqlite3.connect(database.path, timeout=30) as connection:
        connection.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'digits'")
    connection.close()
    tracking = tracker(database)
    tracking.begin(facts())
    outcome = tracking.close(60)
    assert "has the experiment digits among the deleted; to have it back: mlflow experiments restore" in outcome.line()
    assert not outcome.complete


def test_of_doubles_one_stays(database: Database) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{database.path}")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    for start in (1, 2):  # as two drivers make them that look at the same moment
        client.create_run(experiment.experiment_id, start, {"run_key": key(1), "pipeline.kind": "run"})
    tracking = tracker(database)
    tracking.begin(facts())
    tracking.rows(key(1), rows(5))
    assert tracking.close(60).complete
    database.holds_once(1, rows(5))


def test_a_database_that_is_locked_delays_and_loses_nothing(database: Database) -> None:
    with sqlite3.connect(database.path, timeout=30, isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        tracking = tracker(database)
        tracking.begin(facts())
        for part in rows(100):
            tracking.rows(key(1), [part])
        outcome = tracking.close(0.3)
        assert outcome.unsent == {"cifar-resnet-20-seed1": 100}
        assert "later: python -m pipeline.track digits" in outcome.line()
        connection.execute("ROLLBACK")
    connection.close()
    tracking = tracker(database)
    tracking.begin(facts())
    tracking.rows(key(1), rows(100))
    assert tracking.close(60).complete
    database.holds_once(1, rows(100))


def test_what_another_writes_at_the_same_moment_stops_no_run(database: Database) -> None:
    """MLflow looks whether it has the data's name, and then adds it: of two that do so at once, one is refused."""
    fault = "SELECT RAISE(ABORT, 'UNIQUE constraint failed: datasets.name')"
    with contextlib.closing(sqlite3.connect(database.path, timeout=30, isolation_level=None)) as connection:
        connection.execute(f"CREATE TRIGGER overtaken BEFORE INSERT ON datasets BEGIN {fault}; END")
        tracking = tracker(database)
        tracking.begin(facts())
        tracking.rows(key(1), rows(20))
        until(lambda: "has had the same from another" in str(tracking._reason))
        connection.execute("DROP TRIGGER overtaken")
    assert tracking.close(60).complete
    database.holds_once(1, rows(20))


TWO = """
import sys
from pipeline.tracking import Tracker
from tests.tracking_maker import facts, key, rows
tracking = Tracker("digits", uri=sys.argv[1])
for number in (7, int(sys.argv[2])):
    tracking.begin(facts(number))
    tracking.rows(key(number), rows(50))
outcome = tracking.close(60)
assert outcome.complete, outcome
"""


def test_two_at_once_on_a_file_that_is_not_there(tmp_path: Path) -> None:
    database = Database(tmp_path / "mlflow.db")
    command = [sys.executable, "-c", TWO, f"sqlite:///{database.path}"]
    both = [subprocess.Popen([*command, number], cwd=ROOT, stderr=subprocess.PIPE) for number in "12"]
    assert [(each.communicate()[1], each.returncode) for each in both] == [(b"", 0)] * 2
    assert len(database.ask("SELECT * FROM experiments WHERE name = 'digits'")) == 1
    for number in (1, 2, 7):
        database.holds_once(number, rows(50))


def test_files_that_are_missing_stop_only_their_run(database: Database, tmp_path: Path) -> None:
    tracking = tracker(database)
    tracking.finish(record(1, rows(3)), tmp_path / "nowhere")
    tracking.finish(*finished(tmp_path, 2, rows(3)))
    outcome = tracking.close(60)
    assert "No such file" in outcome.stopped["cifar-resnet-20-seed1"]
    assert database.status(2) == "FINISHED"


def test_nothing_is_raised_for_what_was_never_begun(database: Database) -> None:
    tracking = tracker(database)
    tracking.rows(key(5), rows(3))
    tracking.fail(key(5), "unknown")
    tracking.begin(None)  # type: ignore[arg-type]
    assert tracking.close(60).runs == 0
