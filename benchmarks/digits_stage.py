"""The stage `train` of the experiment `digits`, against a plain script that trains the same runs one after another.

Both train all 20 runs for a few of their iterations. Everything around the iterations (start-up, data, networks,
records) is then in the wall time once, as it is in the whole experiment. The missing iterations are added at the pace
of those after each run's first row, because the first ones allocate what the later ones reuse.
"""

import atexit
import heapq
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Work
from pipeline.config import read_yaml
from pipeline.run_store.tables import HISTORY, read_history

NAME = "digits"
ITERATIONS, QUICK_ITERATIONS = 6, 2
QUICK_NETWORKS = {"cifar-plain-20": {"seeds": [0]}}


@dataclass(frozen=True, slots=True)
class Pace:
    """How one run of the short experiment trained."""

    run: str
    iterations: int
    seconds: float  # in all its iterations
    first_row: int  # iterations until its first row
    first_row_s: float  # seconds until then

    def whole(self, iterations: int) -> float:
        """Returns the seconds that `iterations` take."""
        each = (self.seconds - self.first_row_s) / (self.iterations - self.first_row)
        return self.seconds + (iterations - self.iterations) * each


def write_params(folder: Path, name: str, iterations: int, networks: dict[str, Any] | None, **recipe: int) -> int:
    """Writes params.yaml with one experiment: the digits for fewer iterations, without warm-up; drops shrink with them.

    Returns the number of iterations of the digits.
    """
    section = read_yaml(ROOT / "params.yaml")["digits"]
    train, whole = section["train"], int(section["train"]["iterations"])
    drops = {drop * iterations // whole for drop in train["lr_drops"]}
    train |= {"iterations": iterations, "lr_drops": sorted(drops - {0}), "warm_up": None, **recipe}
    section["networks"] = networks or section["networks"]
    text = json.dumps({"experiments": [name], "storage": ".runs", name: section})  # JSON is YAML
    (folder / "params.yaml").write_text(text)
    return whole


def short_experiment(prefix: str, *, quick: bool) -> tuple[Path, int]:
    """Returns a folder with params.yaml, all runs for a few iterations or one with `quick`, and the whole number."""
    folder = temporary_folder(prefix)
    if quick:
        return folder, write_params(folder, NAME, QUICK_ITERATIONS, QUICK_NETWORKS, record_every=1)
    return folder, write_params(folder, NAME, ITERATIONS, None, record_every=2)


def temporary_folder(prefix: str) -> Path:
    """Returns a new folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def python(folder: Path, *words: str) -> float:
    """Runs Python in `folder` with this project's modules; returns the wall time in seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    return time.perf_counter() - began


def forget_training(folder: Path) -> None:
    """Removes what a train stage wrote into `folder`; the data stay."""
    for name in (".runs", "runs", "mlartifacts"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "mlflow.db").unlink(missing_ok=True)


def stage(quick: bool) -> Work:
    """The stage on Ray, in a fresh run store and with MLflow."""
    folder, iterations = short_experiment("digits-", quick=quick)
    python(folder, "-m", "pipeline", "prepare", NAME)
    workers = len(os.sched_getaffinity(0))

    def call() -> float:
        if not quick:  # which starts Ray once only: its second call finds the runs finished
            forget_training(folder)
        wall_s = python(folder, "-m", "pipeline", "train", NAME)
        return whole_s(wall_s, paces(folder / "runs" / NAME), iterations, workers)

    return Work(call)


def script(quick: bool) -> Work:
    """The plain script, in a fresh process in each call as the stage is."""
    folder, iterations = short_experiment("digits-script-", quick=quick)

    def call() -> float:
        wall_s = python(folder, "-m", "benchmarks.digits_script")
        trained = [Pace(**run) for run in json.loads((folder / "runs.json").read_text())]
        return whole_s(wall_s, trained, iterations, workers=1)

    return Work(call)


def paces(runs: Path) -> list[Pace]:
    """Reads the paces of the runs that a stage has published."""
    found = {path.name: read_history(path / HISTORY) for path in sorted(runs.iterdir())}
    ends = [(name, rows[-1], rows[0]) for name, rows in found.items()]
    return [Pace(name, last.iteration, last.seconds, first.iteration, first.seconds) for name, last, first in ends]


def whole_s(wall_s: float, paces: Sequence[Pace], iterations: int, workers: int) -> float:
    """Returns the seconds of the whole experiment with `iterations` a run, from a short one that took `wall_s`."""
    short = makespan([pace.seconds for pace in paces], workers)
    return wall_s - short + makespan([pace.whole(iterations) for pace in paces], workers)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Returns when the last run ends, where each worker that is free takes the longest run that is left."""
    free = [0.0] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + each)
    return max(free)
