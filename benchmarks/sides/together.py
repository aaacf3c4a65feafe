"""Ours: the stage `train` of one run on two workers: Ray started for it, MLflow, checkpoints, the run store."""

import csv
from pathlib import Path

from benchmarks.harness import Work
from benchmarks.sides.digits import forget
from benchmarks.together import NAME, RUN, Found, Kind, Mark, turns
from resnet.weights import decode


def steady(quick: bool) -> Work:
    return _turns("steady", quick)


def total(quick: bool) -> Work:
    return _turns("total", quick)


def _turns(kind: Kind, quick: bool) -> Work:
    def found(folder: Path) -> Found:
        run = folder / "runs" / NAME / RUN
        of_run = decode((run / "weights.safetensors").read_bytes()).state_dict(), marks(run / "history.csv")
        if not quick:  # which is content to start Ray once: its second turn finds the run finished
            forget(folder)
        return of_run

    return turns(kind, quick, ("-m", "pipeline.train", NAME), found)


def marks(history: Path) -> list[Mark]:
    with history.open(newline="") as file:
        return [(int(row["iteration"]), float(row["unix_time_s"])) for row in csv.DictReader(file)]
