"""What MLflow's records cost a run of `digits`, as a fraction of its training time, on a SQLite file.

Ours is the CPU time, of all threads, of the driver's sync: runs have all cores, so that this is what they lose; they do
not wait for the disk, as the sync does. The baseline is the wall time of log_metric for each figure in the training
loop. The training time is the mean over the experiment's runs on one thread, measured in the same call.
"""

import os
import shutil
import time
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import mlflow

from benchmarks.digits_stage import NAME, python, temporary_folder, write_params
from benchmarks.harness import ROOT, Work
from pipeline import config, worker
from pipeline.config import RunSpec
from pipeline.data.loader import load_splits
from pipeline.data.prepared import manifest_of
from pipeline.records import describe, write_json
from pipeline.run_store import checkpoint, lease
from pipeline.run_store.run_folder import PUBLISHED, RECORD, WEIGHTS, RunFolder
from pipeline.run_store.tables import GRADIENTS, HISTORY, encode_history
from pipeline.tracking.sync import INTERVAL_S, PATIENCE_S, Updater
from resnet.history import Row
from resnet.training import Training, start, train

WARM_UP = 2  # iterations of each network
QUICK_ROWS = 10


class Digits:
    """The runs of the experiment `digits`, in a temporary folder that becomes the current one; one run is finished."""

    def __init__(self, *, quick: bool) -> None:
        folder = temporary_folder("benchmark-mlflow-")
        os.chdir(folder)
        write_params(folder, NAME, 2, {"cifar-plain-20": {"seeds": [0]}}, record_every=1)
        python(folder, "-m", "pipeline", "prepare", NAME)
        python(folder, "-m", "pipeline", "train", NAME)  # also creates MLflow's tables
        self.store, self.device = folder / ".runs", worker.set_up(1, 0)
        (record,) = self.store.glob(f"*/{RECORD}")
        self.finished = record.parent
        self.specs = config.load(NAME, ROOT / "params.yaml").runs[: 1 if quick else None]
        recipe = self.specs[0].recipe
        self.history = rows(QUICK_ROWS if quick else recipe.iterations // recipe.record_every)
        splits = load_splits(Path("data", NAME), manifest_of(NAME), self.device)
        self._going = {
            spec.network: train(self.begin(spec), spec.recipe, 0, splits.train, splits.val)
            for spec in self.specs
            if spec.seed == 0
        }
        for _ in range(WARM_UP):
            self.mean_run_s()

    def begin(self, spec: RunSpec) -> Training:
        """Returns a run before its first iteration."""
        return start(spec.architecture, spec.recipe, classes=10, channels=1, seed=spec.seed, device=self.device)

    def mean_run_s(self) -> float:
        """Returns the mean training seconds of a run, from one more iteration of each network."""
        iteration_s = {}
        for network, iterations in self._going.items():
            began = time.perf_counter()
            next(iterations)
            iteration_s[network] = time.perf_counter() - began
        return sum(spec.recipe.iterations * iteration_s[spec.network] for spec in self.specs) / len(self.specs)


def rows(number: int) -> list[Row]:
    """Returns the history of a run; one row in four has a validation error, as in the experiment."""
    return [
        Row(5 * i, float(i), 0.1, 2.0 / i, 90.0 / i, 2.0 / i if i % 4 == 0 else None, 50.0 if i % 4 == 0 else None, i)
        for i in range(1, number + 1)
    ]


def synced(quick: bool) -> Work:
    """A run, with as many updates as the driver makes while a run of this length is trained."""
    digits, numbers = Digits(quick=quick), count()
    (spec,) = config.load(NAME).runs
    state, history = digits.begin(spec), digits.history

    def call() -> float:
        run_s, key, seconds = digits.mean_run_s(), f"{next(numbers):064x}", 0.0
        folder = RunFolder(digits.store / key)
        updater = Updater(NAME, [(replace(spec, key=key), folder)])
        updates = min(len(history), max(1, round(run_s / INTERVAL_S)))
        with lease.acquire(folder.path):
            for update in range(1, updates + 1):
                state.rows[:] = history[: len(history) * update // updates]
                state.iteration = state.rows[-1].iteration
                checkpoint.write(folder.path, key, state)
                began = time.process_time()
                updater.update()
                seconds += time.process_time() - began
            for name in (GRADIENTS, WEIGHTS):
                shutil.copy(digits.finished / name, folder.path)
            (folder.path / HISTORY).write_bytes(encode_history(history))
            files = [describe(folder.path / name, folder.path) for name in PUBLISHED]
            record = RunFolder(digits.finished).record().model_copy(update={"key": key, "files": files})
            write_json(folder.path / RECORD, record)
        began = time.process_time()
        updater.start()
        outcome = updater.finish(PATIENCE_S)
        assert outcome.problem is None, outcome.line()
        return (seconds + time.process_time() - began) / run_s

    return Work(call)


def log_metric(quick: bool) -> Work:
    """A run with its params, each figure of each row, and the history as a file."""
    digits = Digits(quick=quick)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment(NAME)
    params = asdict(digits.specs[0].architecture) | asdict(digits.specs[0].recipe)

    def call() -> float:
        run_s = digits.mean_run_s()
        began = time.perf_counter()
        with mlflow.start_run(run_name="plain-34-seed0"):
            mlflow.log_params(params)
            for row in digits.history:
                _log(row)
            mlflow.log_artifact(str(digits.finished / HISTORY))
        return (time.perf_counter() - began) / run_s

    return Work(call)


def _log(row: Row) -> None:
    values = {"epoch": row.epoch, "lr": row.lr, "train/loss": row.train_loss, "val/loss": row.val_loss}
    errors = {"train/top1_error": row.train_top1_error_percent, "val/top1_error": row.val_top1_error_percent}
    for name, value in (values | errors).items():
        if value is not None:
            mlflow.log_metric(name, value, step=row.iteration)
