"""What MLflow has of a run, by its interface and in its database, beside history.csv."""

import os
from unittest.mock import patch

from pipeline.store.history import read_history
from pipeline.training.job import Job
from resnet.history import Row
from tests.chaos.log import Log
from tests.tracking_maker import Server


def check_once(server: Server, experiment: str, job: Job, log: Log) -> None:
    """Every row is there, with its values, and none twice."""
    from mlflow.tracking import MlflowClient

    history = read_history(job.slot.folder / "history.csv")
    with patch.dict(os.environ, MLFLOW_HTTP_REQUEST_TIMEOUT="120"):
        client = MlflowClient(tracking_uri=server.uri)
        found = client.get_experiment_by_name(experiment)
        runs = client.search_runs([found.experiment_id], f"tags.run_key = '{job.key}'")
        log.check(len(runs) == 1, "MLflow has one run of this key", has=len(runs))
        if not runs:
            return
        run = runs[0].info
        log.check(run.status == "FINISHED", "the run is finished there", status=run.status)
        have = {key: client.get_metric_history(run.run_id, key) for key in _expected(history)}
    for key, rows in _expected(history).items():
        got = sorted((point.step, point.value) for point in have[key])
        lost, doubled = len(set(rows) - set(got)), len(got) - len({step for step, _ in got})
        log.check(not lost, "no row is lost", metric=key, lost=lost, rows=len(rows))
        log.check(not doubled and len(got) == len(rows), "no row is doubled", metric=key, doubled=doubled)
    twice = server.database.ask(
        "SELECT m.key, m.step, COUNT(*) FROM metrics m JOIN tags t USING (run_uuid) "
        "WHERE t.key = 'run_key' AND t.value = ? GROUP BY m.run_uuid, m.key, m.step HAVING COUNT(*) > 1",
        job.key,
    )
    log.check(not twice, "no row is doubled in the database", twice=[list(row) for row in twice[:5]])
    files = list(server.folder.rglob(f"{run.run_id}/artifacts/history.csv"))
    same = [path.read_bytes() for path in files] == [(job.slot.folder / "history.csv").read_bytes()]
    log.check(same, "its history.csv is there, whole")


def _expected(history: list[Row]) -> dict[str, list[tuple[int, float]]]:
    """Iterations and values by metric."""
    rows: dict[str, list[tuple[int, float]]] = {
        "epoch": [(row.iteration, row.epoch) for row in history],
        "lr": [(row.iteration, row.lr) for row in history],
        "train/loss": [(row.iteration, row.train_loss) for row in history],
        "train/top1_error": [(row.iteration, row.train_top1_error_percent) for row in history],
    }
    rows["val/loss"] = [(row.iteration, row.val_loss) for row in history if row.val_loss is not None]
    return rows
