"""Ours: the stage `train` of the experiment `digits` on Ray, in a fresh run store and with MLflow."""

import atexit
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import digits
from benchmarks.digits import NAME, Pace
from benchmarks.harness import Work

LEFT_BEHIND = (".runs", "runs", "mlflow.db", "mlartifacts")


def stage(quick: bool) -> Work:
    folder = Path(tempfile.mkdtemp(prefix="digits-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    digits.write_short(folder, quick=quick)
    _run(folder, "pipeline.prepare")
    iterations, workers = digits.whole_iterations(), len(os.sched_getaffinity(0))

    def go() -> float:
        if not quick:  # which is content to start Ray once: its second turn finds the runs finished
            forget(folder)
        began = time.perf_counter()
        _run(folder, "pipeline.train")
        wall_s = time.perf_counter() - began
        return digits.whole_s(wall_s, paces(folder / "runs" / NAME), iterations, workers)

    return go


def paces(runs: Path) -> list[Pace]:
    """Of the runs that the stage has published."""
    found = []
    for path in sorted(runs.glob("*/history.csv")):
        with path.open(newline="") as file:
            rows = [(int(row["iteration"]), float(row["seconds"])) for row in csv.DictReader(file)]
        (first_row, first_row_s), (iterations, seconds) = rows[0], rows[-1]
        found.append(Pace(path.parent.name, iterations, seconds, first_row, first_row_s))
    return found


def _run(folder: Path, module: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(digits.ROOT)}
    subprocess.run([sys.executable, "-m", module, NAME], cwd=folder, env=environment, check=True)


def forget(folder: Path) -> None:
    """What a train stage has left in a folder, but for its data."""
    for name in LEFT_BEHIND:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
