"""MLflow in the usual manner: the training loop calls log_metric for each figure of each row."""

import tempfile
import time
from itertools import count
from pathlib import Path

import mlflow

from benchmarks.digits_runs import Digits
from benchmarks.harness import Work
from resnet.history import Row
from tests import tracking_maker


def log_metric(quick: bool) -> Work:
    """The share of the training time of a run of `digits` that its MLflow records cost, on a SQLite file.

    The cost is the wall time of the calls that stand in the training loop, and before and after it: a run with its
    params, each figure of each row, the history as a file. The training time is measured as on our side.
    """
    digits = Digits(quick=quick)
    history = digits.history()
    holder = tempfile.TemporaryDirectory(prefix="benchmark-mlflow-")
    folder = Path(holder.name)
    mlflow.set_tracking_uri(f"sqlite:///{tracking_maker.fresh_database(folder).path}")
    mlflow.set_experiment("digits")
    numbers = count()

    def log() -> float:
        run_s = digits.mean_run_s()
        record, path = tracking_maker.finished(Path(tempfile.mkdtemp(dir=holder.name)), next(numbers), history)
        began = time.perf_counter()
        with mlflow.start_run(run_name=record.run):
            mlflow.log_params({**tracking_maker.ARCHITECTURE, **tracking_maker.RECIPE})
            for row in history:
                _log(row)
            mlflow.log_artifact(str(path / "history.csv"))
        return (time.perf_counter() - began) / run_s

    return log


def _log(row: Row) -> None:
    mlflow.log_metric("epoch", row.epoch, step=row.iteration)
    mlflow.log_metric("lr", row.lr, step=row.iteration)
    mlflow.log_metric("train/loss", row.train_loss, step=row.iteration)
    mlflow.log_metric("train/top1_error", row.train_top1_error_percent, step=row.iteration)
    if row.val_loss is not None and row.val_top1_error_percent is not None:
        mlflow.log_metric("val/loss", row.val_loss, step=row.iteration)
        mlflow.log_metric("val/top1_error", row.val_top1_error_percent, step=row.iteration)
