"""What MLflow shows of a run, its address, and the line that a stage prints. Needs no MLflow."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.run_store.run_folder import RunFolder
from pipeline.tracking.client import Conflict, Rejected, Unavailable, address, translated
from pipeline.tracking.metrics import MAX_BATCH, LocalRun, batches, summary, tags
from pipeline.tracking.sync import sync
from resnet.architectures import ARCHITECTURES
from tests.factories.tracking import record, result, row, rows, spec


def local(**changes: Any) -> LocalRun:
    values: dict[str, Any] = {
        "spec": spec(), "data_digest": "d" * 64, "dataset": "cifar10", "folder": RunFolder(Path("nowhere")),
        "rows": rows(30), "status": "FINISHED", "record": record(1, rows(30)),
    }  # fmt: skip
    return LocalRun(**{**values, **changes})


def test_batches_are_small_and_split_no_row() -> None:
    run = local(rows=rows(2500))
    groups = list(batches(run, ()))
    assert all(len(group) <= MAX_BATCH for group in groups)
    a_row = max(Counter(point.iteration for point in groups[0]).values())
    assert all(len(group) > MAX_BATCH - a_row for group in groups[:-1])
    iterations = [{point.iteration for point in group} for group in groups]
    assert sum(map(len, iterations)) == len(set().union(*iterations)) == 2500
    points = [point for group in groups for point in group]
    later = [point for group in batches(run, range(1, 1001)) for point in group]
    assert later == [point for point in points if point.iteration > 1000]  # to send again is to send the same
    assert list(batches(run, range(2501))) == []


def test_values_that_are_not_finite_are_named_and_left_out() -> None:
    run = local(rows=[row(7), row(8, float("inf")), row(9, float("nan"))])
    (points,) = batches(run, ())
    assert [p.iteration for p in points if p.name == "train/loss"] == [7]
    assert [p.iteration for p in points if p.name == "epoch"] == [7, 8, 9]
    assert tags(run)["non_finite"] == "train/loss from iteration 8"
    assert tags(local())["non_finite"] == ""


def test_the_evaluation_replaces_the_training() -> None:
    assert summary(local())["final/val_top1_error"] == 9.5
    assert summary(local(result=result(1)))["final/val_top1_error"] == 9.0
    assert summary(local(result=result(1)))["delta/top1_error"] == pytest.approx(9.0 - 8.75)  # by Table 6
    assert "delta/top1_error" not in summary(local(result=result(1, protocol="10-crop 224")))
    assert summary(local())["perf/roofline_percent"] == pytest.approx(25.0)  # 1,000 of 4,000 images a second
    assert summary(local(record=None, status="RUNNING")) == {}


@pytest.mark.parametrize(
    ("dataset", "name", "shortcut", "error"),
    [
        ("cifar10", "cifar-resnet-110", "A", 6.61),  # the mean of five runs
        ("cifar10", "cifar-resnet-20", "B", None),
        ("digits", "cifar-resnet-20", "A", None),
        ("imagenet", "resnet-34", "C", 24.19),
    ],
)
def test_published_errors(dataset: str, name: str, shortcut: Any, error: float | None) -> None:
    network = replace(ARCHITECTURES[name], shortcut=shortcut)
    paper = local(dataset=dataset, spec=replace(spec(), architecture=network)).paper
    assert (paper and paper.value) == error


# Addresses, credentials in texts, and outcomes


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", "no longer keeps runs in folders"),
        ("sqlite:////no/such/folder/mlflow.db", "no file in a folder that exists"),
    ],
)
def test_an_address_that_cannot_be(uri: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=said) as refused:
        address()
    assert "\n" not in str(refused.value)
    assert said in sync("digits").line()  # which stops no stage


@pytest.mark.parametrize(
    ("uri", "secrets"),
    [
        ("http://me:secret7@host:5000/path", ("secret7",)),
        ("https://someone:p%40ss%2Fword7@host", ("someone", "p%40ss%2Fword7", "p@ss/word7")),  # quoted, and as it is
        ("postgresql+psycopg2://me:secret7@host/db?password=secret8", ("secret7",)),
    ],
)
def test_no_credential_is_shown(uri: str, secrets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-1234")
    where = address()
    text = f"{uri} failed for me with {', '.join(secrets)} and xtoken-1234x; see http://other:secret9@host, some time"
    for shown in (where.shown, where.redacted(text), str(translated(ValueError(text), where))):
        assert not any(secret in shown for secret in (*secrets, "token-1234", "secret8", "secret9"))
    assert "some time" in where.redacted(text)  # a short user name hides no part of other words


def test_errors_are_of_three_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")

    def kind(code: str, text: str) -> tuple[type, str]:
        error = translated(type("MlflowException", (Exception,), {"error_code": code})(text), address())
        return type(error), str(error)

    assert kind("RESOURCE_DOES_NOT_EXIST", "x")[0] is Conflict
    assert kind("INVALID_PARAMETER_VALUE", "too long") == (Rejected, "rejected by MLflow: too long")
    assert kind("BAD_REQUEST", "(sqlite3.IntegrityError) UNIQUE constraint failed")[0] is Conflict
    assert kind("INTERNAL_ERROR", "x failed with exception ConnectionError")[1] == "cannot be reached"
    assert kind("INTERNAL_ERROR", "too many 503 error responses") == (Unavailable, "fails with HTTP status 503")
    assert kind("PERMISSION_DENIED", "x")[1].startswith("refuses access (HTTP status 403); check MLFLOW_TRACKING_USER")


def test_importing_the_sync_does_not_import_mlflow() -> None:
    code = "import sys, pipeline.tracking.sync; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
