"""Runs as the stages describe them, a real MLflow server, and what is in its database."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.store.history import write_history
from pipeline.store.records import File, RunRecord, RunResult, SplitErrors, write_json
from pipeline.tracking import RunFacts, Tracker
from resnet.history import Row

PATIENCE_S = 240.0  # bound on waits that end by themselves; no outcome depends on it
START = 1_700_000_000.0
PEAK = 40_600_000 * 3 * 4000.0  # of a device that could train this network at 4,000 images a second
ARCHITECTURE = {
    "stem": "cifar",
    "block": "basic",
    "blocks": [3, 3, 3],
    "width": 16,
    "shortcut": "A",
    "stride_on": "1x1",
}
RECIPE = {"batch_size": 128, "lr": 0.1, "lr_drops": [32000, 48000], "warm_up": None}


def key(number: int) -> str:
    return f"{number:064x}"


def facts(number: int = 1, **changes: Any) -> RunFacts:
    values: dict[str, Any] = {
        "key": key(number), "run": f"cifar-resnet-20-seed{number}", "experiment": "digits",
        "network": "cifar-resnet-20", "family": "residual", "depth": 20, "shortcut": "A", "seed": number,
        "architecture": ARCHITECTURE, "recipe": RECIPE, "dataset": "cifar10", "data_digest": "d" * 64,
        "trained_here": True,
    }  # fmt: skip
    return RunFacts(**{**values, **changes})


def row(iteration: int, loss: float | None = None) -> Row:
    measured = iteration % 10 == 0
    value = 2.0 / iteration if loss is None else loss
    return Row(
        iteration, iteration / 10, 0.1, value, 90.0 / iteration, value if measured else None,
        50.0 if measured else None, float(iteration), START + iteration,
    )  # fmt: skip


def rows(count: int, start: int = 1) -> list[Row]:
    return [row(i) for i in range(start, count + 1)]


def record(number: int, history: Sequence[Row], status: str = "finished") -> RunRecord:
    values = {
        "run": f"cifar-resnet-20-seed{number}", "key": key(number), "experiment": "digits",
        "network": "cifar-resnet-20", "architecture": ARCHITECTURE, "depth": 20, "family": "residual", "shortcut": "A",
        "seed": number, "status": status, "iterations": history[-1].iteration, "warm_up_ended_at": None,
        "parameters": 269722, "multiply_adds": 40_600_000,
        "train_top1_error_percent": 1.25, "val_top1_error_percent": 9.5, "seconds": 12.5, "images_per_second": 1000.0,
        "peak_multiply_adds_per_second": PEAK,
        "peak_mib": 300.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}, "attempts": 1, "commit": None,
        "recipe": RECIPE,
        "data_digest": "d" * 64, "code_digest": "c" * 64,
        "weights": File(path="weights.safetensors", bytes=1234, sha256="e" * 64),
    }  # fmt: skip
    return RunRecord.model_validate(values)


def result(number: int, test_errors: int = 900) -> RunResult:
    split = SplitErrors(images=10_000, top1_errors=test_errors, top5_errors=None, loss=0.5)
    return RunResult(
        run=f"cifar-resnet-20-seed{number}", key=key(number), protocol="single view",
        train=split, val=split, test=split, images_per_second=2000.0, device="cpu",
    )  # fmt: skip


def finished(root: Path, number: int, history: list[Row], status: str = "finished") -> tuple[RunRecord, Path]:
    """A finished run's folder, as the train stage leaves it."""
    done = record(number, history, status)
    folder = root / "runs" / "digits" / done.run
    folder.mkdir(parents=True)
    write_history(folder / "history.csv", history)
    write_json(folder / "run.json", done)
    (folder / "weights.safetensors").write_bytes(b"weights that stay where they are")
    return done, folder


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@cache
def empty_tables() -> bytes:
    """An MLflow database with the experiment `digits` and no runs: to make it takes seconds, to copy it does not."""
    with tempfile.TemporaryDirectory() as folder:
        assert Tracker("digits", uri=f"sqlite:///{folder}/mlflow.db").close(PATIENCE_S).complete
        return Path(folder, "mlflow.db").read_bytes()


def fresh_database(folder: Path) -> "Database":
    """A file with these tables, and the experiment's artifacts beside it."""
    path = folder / "mlflow.db"
    path.write_bytes(empty_tables())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'digits'", (f"{folder}/files",))
    return Database(path)


class Database:
    """MLflow's tables, read without MLflow."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()

    def runs(self, number: int) -> list[str]:
        """Those of this key that are not deleted."""
        query = (
            "SELECT r.run_uuid FROM runs r JOIN tags t USING (run_uuid) "
            "WHERE t.key = 'run_key' AND t.value = ? AND r.lifecycle_stage = 'active'"
        )
        return [run for (run,) in self.ask(query, key(number))]

    def run(self, number: int) -> str:
        (run,) = self.runs(number)
        return run

    def steps(self, number: int, metric: str) -> list[int]:
        """With repetitions, should there be any."""
        query = "SELECT step FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step"
        return [step for (step,) in self.ask(query, self.run(number), metric)]

    def values(self, number: int, metric: str) -> list[float]:
        """In the order of their steps."""
        query = "SELECT value FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step"
        return [value for (value,) in self.ask(query, self.run(number), metric)]

    def tags(self, number: int) -> dict[str, str]:
        return dict(self.ask("SELECT key, value FROM tags WHERE run_uuid = ?", self.run(number)))

    def params(self, number: int) -> dict[str, str]:
        return dict(self.ask("SELECT key, value FROM params WHERE run_uuid = ?", self.run(number)))

    def latest(self, number: int) -> dict[str, float]:
        return dict(self.ask("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", self.run(number)))

    def status(self, number: int) -> str:
        return str(self.ask("SELECT status FROM runs WHERE run_uuid = ?", self.run(number))[0][0])

    def holds_once(self, number: int, history: Sequence[Row]) -> None:
        """Every row of the history is there, and none twice."""
        everywhere = [row.iteration for row in history]
        for metric in ("train/loss", "train/top1_error", "lr", "epoch", "images_per_second"):
            assert self.steps(number, metric) == everywhere, metric
        measured = [row.iteration for row in history if row.val_loss is not None]
        assert self.steps(number, "val/top1_error") == measured

    def content(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that a second sending might add to."""
        tables = ("metrics", "params", "tags", "runs", "inputs", "datasets", "experiments")
        return {table: sorted(self.ask(f"SELECT * FROM {table}"), key=repr) for table in tables}


class Server:
    """`mlflow server` on loopback, to be killed, stopped and started again on the same database."""

    words: tuple[str, ...] = ()  # more of its command line

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, fresh_database(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.database.path}",
            "--artifacts-destination", str(self.folder / "artifacts"), *self.words,
        ]  # fmt: skip
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self.folder, env=environment
            )
        until(self.answers)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:
            return bool(reply.status == 200)
        return False

    def pids(self) -> list[int]:
        """All its processes."""
        assert self._process is not None
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(path.name)) == self._process.pid:
                    found.append(int(path.name))
        return found

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def state(self) -> str:
        """T where it is stopped."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
