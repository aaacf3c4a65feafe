"""Ours: the stage `train` of one run on two workers: Ray started for it, MLflow, checkpoints, the run store."""

import atexit
import csv
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks import together
from benchmarks.harness import Work
from benchmarks.sides.digits import LEFT_BEHIND
from benchmarks.together import ITERATIONS, NAME, QUICK, RUN, SHORT, Mark
from resnet.weights import decode


def steady(quick: bool) -> Work:
    """Told is the time of an iteration behind the first row."""
    return turns("steady", quick)


def total(quick: bool) -> Work:
    """Told is the time of the whole command."""
    return turns("total", quick)


def turns(kind: str, quick: bool) -> Work:
    folder = new_folder(kind, quick)
    counts = iter([SHORT] if not quick else [])  # the first turn only warms up

    def go() -> float:
        iterations = next(counts, QUICK if quick else ITERATIONS[kind])
        if not quick:  # which is content to start Ray once: its second turn finds the run finished
            forget(folder)
        together.write_params(folder, iterations, quick=quick)
        began = time.perf_counter()
        together.command(folder, "-m", "pipeline.train", NAME)
        wall_s = time.perf_counter() - began
        found = folder / "runs" / NAME / RUN
        together.require_same(decode((found / "weights.safetensors").read_bytes()).state_dict(), iterations)
        return wall_s if kind == "total" else together.pace(marks(found / "history.csv"))

    return go


def new_folder(kind: str, quick: bool) -> Path:
    """With data, for one side of a benchmark; gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="together-"))
    counts = [QUICK] if quick else [SHORT, ITERATIONS[kind]]
    together.forget(counts)
    atexit.register(together.forget, counts)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    together.prepare(folder, quick=quick)
    return folder


def marks(history: Path) -> list[Mark]:
    with history.open(newline="") as file:
        return [(int(row["iteration"]), float(row["unix_time_s"])) for row in csv.DictReader(file)]


def forget(folder: Path) -> None:
    for name in LEFT_BEHIND:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
