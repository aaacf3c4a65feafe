"""An experiment's files as the stages write them, a real MLflow server, and what is in MLflow's database."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config import RunSpec
from pipeline.records import File, Manifest, RunRecord, RunResult, SplitErrors, SplitInfo, write_json
from pipeline.run_store import checkpoint
from pipeline.run_store.run_folder import RECORD, WEIGHTS
from pipeline.run_store.tables import HISTORY, encode_history
from pipeline.tracking.client import Client, address
from resnet.architectures import ARCHITECTURES
from resnet.history import Row
from tests.factories import tiny_run
from tests.factories.stores import write_files

WAIT_S = 240.0  # bound on waits that end by themselves; no outcome depends on it
START = 1_700_000_000.0
NAME = "digits"  # the experiment; its data are CIFAR-10, so that the paper has a number
FILE = File(path="weights.safetensors", bytes=1234, sha256="e" * 64)
SPLIT = SplitInfo(images=10, per_class={"a": 5, "b": 5}, files=[])
MANIFEST = Manifest(
    dataset="cifar10", storage="arrays", classes=["a", "b"], channels=3, size=32, train=SPLIT, val=SPLIT, test=SPLIT,
    mean=FILE, source="nowhere",
)  # fmt: skip
RECIPE = replace(
    tiny_run.RECIPE, batch_size=128, iterations=1000, lr_drops=(400, 800), record_every=1, validate_every=10
)


def spec(number: int = 1) -> RunSpec:
    return RunSpec(
        experiment=NAME, network="cifar-resnet-20", architecture_name="cifar-resnet-20",
        architecture=ARCHITECTURES["cifar-resnet-20"], recipe=RECIPE, seed=number, key=f"{number:064x}",
    )  # fmt: skip


def row(iteration: int, loss: float | None = None) -> Row:
    """One iteration a second."""
    measured, value = iteration % 10 == 0, 2.0 / iteration if loss is None else loss
    return Row(
        iteration, iteration / 10, 0.1, value, 90.0 / iteration, value if measured else None,
        50.0 if measured else None, float(iteration), START + iteration,
    )  # fmt: skip


def rows(count: int) -> list[Row]:
    return [row(i) for i in range(1, count + 1)]


def record(number: int, history: Sequence[Row], **changes: Any) -> RunRecord:
    made = spec(number)
    values = {
        "run": made.name, "key": made.key, "experiment": NAME, "network": made.network,
        "architecture": asdict(made.architecture), "depth": 20, "family": "residual", "shortcut": "A", "seed": number,
        "status": "finished", "iterations": history[-1].iteration, "warm_up_ended_at": None, "parameters": 269722,
        "multiply_adds": 40_600_000, "train_top1_error_percent": 1.25, "val_top1_error_percent": 9.5, "seconds": 12.5,
        "images_per_second": 1000.0, "peak_multiply_adds_per_second": 40_600_000 * 3 * 4000.0, "peak_mib": 300.0,
        "device": "cpu", "threads": 1, "workers": 1, "versions": {"torch": "2"}, "attempts": 1,
        "commit": "a" * 40 + " (changed since)", "recipe": asdict(made.recipe), "data_digest": MANIFEST.digest(),
        "code_digest": "c" * 64, "size": 32, "files": [FILE],
    }  # fmt: skip
    return RunRecord.model_validate({**values, **changes})


def result(number: int, test_errors: int = 900, protocol: str = "single view") -> RunResult:
    split = SplitErrors(images=10_000, top1_errors=test_errors, top5_errors=None, loss=0.5)
    return RunResult(
        run=spec(number).name, key=spec(number).key, protocol=protocol, train=split, val=split, test=split,
        images_per_second=2000.0, peak_multiply_adds_per_second=1e12, device="cpu",
    )  # fmt: skip


def write_data() -> None:
    """data/digits, as far as MLflow is concerned, in the working folder."""
    Path("data", NAME).mkdir(parents=True, exist_ok=True)
    write_json(Path("data", NAME, "manifest.json"), MANIFEST)


def write_finished(number: int, history: Sequence[Row], folder: Path | None = None, **changes: Any) -> None:
    """A finished run in runs/digits, or in a folder of the run store."""
    folder = folder or Path("runs", NAME, spec(number).name)
    folder.mkdir(parents=True, exist_ok=True)
    files = write_files(folder, {HISTORY: encode_history(history), WEIGHTS: b"weights"})
    write_json(folder / RECORD, record(number, history, **{"files": files, **changes}))


def write_checkpoint(folder: Path, number: int, history: Sequence[Row]) -> None:
    """A run under way in the run store, with this history in its newest checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    run = tiny_run.begin()
    run.iteration, run.rows[:] = history[-1].iteration, history
    checkpoint.write(folder, spec(number).key, run)


def write_result(number: int, test_errors: int = 900) -> None:
    Path("results", NAME).mkdir(parents=True, exist_ok=True)
    write_json(Path("results", NAME, f"{spec(number).name}.json"), result(number, test_errors))


def write_project(count: int = 60, runs: int = 2) -> None:
    """Finished runs, the first one evaluated, and a report."""
    write_data()
    for number in range(1, runs + 1):
        write_finished(number, rows(count))
    write_result(1)
    figures = Path("reports", NAME, "figures")
    figures.mkdir(parents=True, exist_ok=True)
    for path, text in ((figures.parent / "report.md", "# digits\n"), (figures / "curve.svg", "<svg/>")):
        path.write_text(text)
        os.utime(path, (START, START))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@cache
def _empty_tables() -> bytes:
    """A database with the experiment and no runs: creating it takes seconds, copying it does not."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        Client(replace(address(), uri=uri, database=Path(folder, "mlflow.db")), NAME, threading.Event())
        return Path(folder, "mlflow.db").read_bytes()


def new_database(folder: Path) -> "Database":
    """A file with these tables, and the experiment's artifacts next to it."""
    folder.mkdir(exist_ok=True)
    path = folder / "mlflow.db"
    path.write_bytes(_empty_tables())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (f"{folder}/files", NAME))
    return Database(path)


class Database:
    """MLflow's tables, read without MLflow. Runs are named by their number."""

    def __init__(self, path: Path) -> None:
        self.path, self.uri = path, f"sqlite:///{path}"

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()

    def execute(self, command: str, *values: object) -> None:
        with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
            connection.execute(command, values)

    def runs(self, number: int) -> list[str]:
        """The ids of the runs with this key that are not deleted."""
        query = (
            "SELECT r.run_uuid FROM runs r JOIN tags t USING (run_uuid) "
            "WHERE t.key = 'run_key' AND t.value = ? AND r.lifecycle_stage = 'active'"
        )
        return [run for (run,) in self.ask(query, spec(number).key)]

    def run(self, number: int) -> str:
        (run,) = self.runs(number)
        return run

    def values(self, number: int, metric: str) -> dict[int, float]:
        """Returns values by iteration. Fails where an iteration has two."""
        query = "SELECT step, value FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step"
        found = self.ask(query, self.run(number), metric)
        assert len({step for step, _ in found}) == len(found), metric
        return dict(found)

    def table(self, number: int, name: str) -> dict[str, Any]:
        """Keys and values of `tags`, `params` or `latest_metrics`."""
        return dict(self.ask(f"SELECT key, value FROM {name} WHERE run_uuid = ?", self.run(number)))

    def status(self, number: int) -> str:
        return str(self.ask("SELECT status FROM runs WHERE run_uuid = ?", self.run(number))[0][0])

    def holds_once(self, number: int, history: Sequence[Row]) -> None:
        """Asserts that every row is there, and none twice."""
        for metric in ("train/loss", "train/top1_error", "lr", "epoch", "images_per_second"):
            assert list(self.values(number, metric)) == [row.iteration for row in history], metric
        measured = [row.iteration for row in history if row.val_loss is not None]
        assert list(self.values(number, "val/top1_error")) == measured

    def content(self) -> dict[str, Any]:
        """All that a second sending could change, without the ids that MLflow draws; and the files."""
        runs = {}
        columns = "status, start_time, end_time, lifecycle_stage, name"
        for run, *state in self.ask(f"SELECT run_uuid, {columns} FROM runs ORDER BY name"):
            tables = {name: sorted(self.ask(f"SELECT * FROM {name} WHERE run_uuid = ?", run), key=repr)
                      for name in ("metrics", "latest_metrics", "params", "tags")}  # fmt: skip
            inputs = self.ask(
                "SELECT d.name, d.digest FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
                "WHERE i.destination_id = ?", run)  # fmt: skip
            files = {str(path.relative_to(self.path.parent / "files" / run)): path.read_bytes()
                     for path in sorted((self.path.parent / "files" / run).rglob("*")) if path.is_file()}  # fmt: skip
            texts = repr((state, tables, inputs, files)).replace(run, "ID")
            runs[texts.replace(str(self.path.parent), "FOLDER")] = run
        return {"runs": sorted(runs), "experiments": self.ask("SELECT name, lifecycle_stage FROM experiments")}


class Server:
    """`mlflow server` on loopback, to be killed, suspended and started again on the same database."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.database, self.options = folder, new_database(folder), options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", self.database.uri, "--artifacts-destination", str(self.folder / "artifacts"),
            *self.options,
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
        """The ids of all its processes."""
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
        """T where it is suspended."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
