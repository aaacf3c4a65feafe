"""`python -m pipeline.track`: what MLflow missed reaches it later, once; and the parts that need no MLflow."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import track
from pipeline.errors import EnvironmentFault, UserError
from pipeline.store.records import write_json
from pipeline.tracking import Invocation, Tracker, log_report, log_results, reconcile
from pipeline.tracking.address import address
from pipeline.tracking.facts import Outcome
from pipeline.tracking.points import MAX_BATCH, batches, points
from pipeline.tracking.published import published
from pipeline.tracking.speed import Speed
from resnet.architectures import ARCHITECTURES
from tests.tracking_maker import ARCHITECTURE, Database, facts, finished, fresh_database, key, result, row, rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return fresh_database(tmp_path)


def project(root: Path) -> None:
    """Two runs, one of them evaluated, and a report."""
    for number in (1, 2):
        finished(root, number, rows(60))
    (root / "results" / "digits").mkdir(parents=True)
    write_json(root / "results" / "digits" / "cifar-resnet-20-seed1.json", result(1))
    figures = root / "reports" / "digits" / "figures"
    figures.mkdir(parents=True)
    (figures.parent / "report.md").write_text("# digits\n")
    (figures / "curve.svg").write_text("<svg/>")


def test_what_the_folders_hold_is_sent_once(database: Database, tmp_path: Path) -> None:
    project(tmp_path)
    contents = []
    for _ in range(2):
        outcome = reconcile("digits", root=tmp_path, uri=f"sqlite:///{database.path}")
        assert outcome.complete, outcome
        contents.append(database.content())
    assert contents[0] == contents[1]
    for number in (1, 2):
        database.holds_once(number, rows(60))
    assert database.latest(1)["final/test_top1_error"] == 9.0
    assert "final/test_top1_error" not in database.latest(2)
    sent = sorted(path.name for path in (tmp_path / "files").rglob("report/**/*") if path.is_file())
    assert sent == ["curve.svg", "report.md"]


def test_the_report_goes_to_the_newest_invocation(database: Database, tmp_path: Path) -> None:
    project(tmp_path)
    uri = f"sqlite:///{database.path}"
    asked = Invocation(command="python -m pipeline.train digits", asked=())
    for _ in range(2):
        assert Tracker("digits", uri=uri, invocation=asked).close(60).complete
    assert log_report("digits", tmp_path / "reports" / "digits", uri=uri).complete
    newest = database.ask("SELECT run_uuid FROM runs ORDER BY start_time DESC")[0][0]
    assert (tmp_path / "files" / newest / "artifacts" / "report" / "report.md").is_file()
    assert len(database.ask("SELECT * FROM runs")) == 2


def test_a_second_evaluation_replaces_the_first(database: Database, tmp_path: Path) -> None:
    done, folder = finished(tmp_path, 1, rows(60))
    uri = f"sqlite:///{database.path}"
    tracking = Tracker("digits", uri=uri)
    tracking.finish(done, folder, "cifar10")
    assert tracking.close(60).complete
    for errors in (900, 700):
        assert log_results("digits", [result(1, errors)], root=tmp_path, uri=uri).complete
        assert database.latest(1)["final/test_top1_error"] == errors / 100
    assert len(database.steps(1, "final/test_top1_error")) == 2
    assert len(database.steps(1, "final/test_loss")) == 1


def test_the_difference_from_the_paper_only_by_its_own_protocol(database: Database, tmp_path: Path) -> None:
    uri = f"sqlite:///{database.path}"
    for number, protocol in ((1, "single view"), (2, "10-crop 224")):
        done, folder = finished(tmp_path, number, rows(10))
        tracking = Tracker("digits", uri=uri)
        tracking.begin(facts(number))
        tracking.finish(done, folder)
        tracking.result(result(number).model_copy(update={"protocol": protocol}))
        assert tracking.close(60).complete
    assert database.latest(1)["delta/top1_error"] == pytest.approx(9.0 - 8.75)
    assert "delta/top1_error" not in database.latest(2)


def test_the_command_prints_one_line(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    track.main(["digits"])
    assert capfd.readouterr() == (f"MLflow (sqlite:///{database.path}) has 2 runs of digits\n", "")


def test_the_command_says_that_the_server_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("pipeline.tracking.tracker.SILENCE_S", 1.0)
    with pytest.raises(
        EnvironmentFault, match=r"cannot be reached: not sent .* of 2 runs and the report; later: "
    ) as told:
        track.main(["digits"])
    assert told.value.exit_code == 3


def test_the_command_refuses_a_folder_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "file:///x", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline.track", "digits"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: MLflow address 'file:///x': MLflow no longer keeps runs in folders;")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", "no longer keeps runs in folders"),
        ("file:///x/mlruns", "no longer keeps runs in folders"),
        ("http://", "no host and port"),
        ("http://:5000", "no host and port"),
        ("http://host:port", "no host and port"),
        ("https://host:99999", "no host and port"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////no/such/folder/mlflow.db", "the folder /no/such/folder is not there"),
        ("htp://user:secret@host", "no scheme that MLflow knows"),
        ("ftp://user:se@c/ret@host", "no scheme that MLflow knows"),
    ],
)
def test_an_address_that_cannot_be(uri: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=said) as refused:
        address(uri)
    tracking = Tracker("digits", uri=uri)  # which stops no training
    tracking.begin(facts())
    tracking.rows(key(1), rows(4))
    outcome = tracking.close(60)
    assert said in outcome.line()
    assert outcome.unsent == {"cifar-resnet-20-seed1": 4}
    for text in (str(refused.value), outcome.line(), repr(outcome), caplog.text):
        assert "\n" not in text.strip()
        assert not any(secret in text for secret in ("secret", "c/ret", "user"))


def test_no_row_is_in_two_batches() -> None:
    history = rows(2500)
    speeds = {row.iteration: Speed(1000.0, 25.0) for row in history}
    groups = list(batches(history, speeds))
    assert [part for group, _ in groups for part in group] == history
    for group, metrics in groups:
        assert metrics == [point for part in group for point in points(part, Speed(1000.0, 25.0))]
        assert len(metrics) <= MAX_BATCH
    assert all(len(metrics) > MAX_BATCH - 8 for _, metrics in groups[:-1])
    assert list(batches([], {})) == []
    assert [len(group) for group, _ in batches([row(10), row(20)], {}, limit=6)] == [1, 1]


@pytest.mark.parametrize(
    ("dataset", "name", "shortcut", "error"),
    [
        ("cifar10", "cifar-resnet-20", "A", 8.75),
        ("cifar10", "cifar-resnet-110", "A", 6.61),  # the mean of five runs
        ("cifar10", "cifar-plain-20", "none", None),
        ("cifar10", "cifar-resnet-20", "B", None),
        ("digits", "cifar-resnet-20", "A", None),
        (None, "cifar-resnet-20", "A", None),
        ("imagenet", "plain-18", "none", 27.94),
        ("imagenet", "plain-34", "none", 28.54),
        ("imagenet", "resnet-18", "A", 27.88),
        ("imagenet", "resnet-34", "A", 25.03),
        ("imagenet", "resnet-34", "C", 24.19),
        ("imagenet", "resnet-50", "B", 22.85),
        ("imagenet", "resnet-152", "B", 21.43),
        ("cifar10", "resnet-50", "B", None),
    ],
)
def test_published_errors(dataset: str | None, name: str, shortcut: str, error: float | None) -> None:
    network = replace(ARCHITECTURES[name], shortcut=shortcut)  # type: ignore[arg-type]
    values = {field: getattr(network, field) for field in ARCHITECTURE}
    found = published(dataset, values)
    assert (found and found.top1_error_percent) == error


def test_a_stride_that_the_paper_has_not_is_another_network() -> None:
    network = replace(ARCHITECTURES["resnet-50"], stride_on="3x3")
    assert published("imagenet", {field: getattr(network, field) for field in ARCHITECTURE}) is None


def test_an_outcome_in_one_line() -> None:
    base = Outcome(experiment="digits", where="http://host", runs=3, unsent={})
    assert base.line() == "MLflow (http://host) has 3 runs of digits"
    owed = replace(base, unsent={"a": 1000, "b": 204}, reason="cannot be reached", report_sent=False)
    assert owed.line() == (
        "MLflow (http://host) cannot be reached: not sent 1,204 rows of 2 runs and the report; "
        "later: python -m pipeline.track digits"
    )
