"""One run of the experiment `digits` on two workers, for both sides of a benchmark: Ray around it against torchrun."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.turns import ROOT
from pipeline.yaml_file import read_yaml

NAME, WORKERS = "together", 2
NETWORK, RUN = "resnet-34", "resnet-34-seed0"
ITERATIONS = {"steady": 200, "total": 600}  # `total`: most of a minute, so that what starts up has its fair share
SHORT = 10  # iterations of the first turn, which is not counted
QUICK = 4

Mark = tuple[int, float]  # iterations, and the time in seconds at which so many were finished


def prepare(folder: Path, *, quick: bool) -> None:
    """The data that the run reads, below `folder`."""
    write_params(folder, QUICK if quick else SHORT, quick=quick)
    command(folder, "-m", "pipeline.prepare", NAME)


def write_params(folder: Path, iterations: int, *, quick: bool) -> None:
    """params.yaml with the run alone; the schedule is that of the digits on its scale."""
    section: dict[str, Any] = read_yaml(ROOT / "params.yaml")["digits"]
    recipe = section["train"]
    drops = {drop * iterations // recipe["iterations"] for drop in recipe["lr_drops"]}
    recipe |= {"workers": WORKERS, "iterations": iterations, "lr_drops": sorted(drop for drop in drops if drop > 0)}
    if quick or iterations == SHORT:
        recipe |= {"record_every": 2, "validate_every": 4}
    section["networks"] = {NETWORK: {"seeds": [0]}}
    text = json.dumps({"experiments": [NAME], "storage": ".runs", NAME: section})  # JSON is YAML
    (folder / "params.yaml").write_text(text)


def command(folder: Path, *words: str) -> None:
    """Runs Python in `folder` with this project's modules."""
    subprocess.run([sys.executable, *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def pace(marks: Sequence[Mark]) -> float:
    """Seconds of the clock for an iteration behind the first row, with all that is done between two iterations."""
    (first, began), (last, ended) = marks[0], marks[-1]
    return (ended - began) / (last - first)


def require_same(weights: Mapping[str, Tensor], iterations: int) -> None:
    """Raises RuntimeError where the other side of this benchmark, or an earlier turn, has found other weights.

    The sides are children of one process, and meet in a file that is named for it.
    """
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    path = meeting_place(iterations)
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(digest.hexdigest())
    if path.read_text() != digest.hexdigest():
        raise RuntimeError(f"after {iterations} iterations the weights are not those of the other side")


def meeting_place(iterations: int) -> Path:
    return Path(tempfile.gettempdir(), f"benchmark-{NAME}-{os.getppid()}-{iterations}")


def forget(iterations: Sequence[int]) -> None:
    for each in iterations:
        meeting_place(each).unlink(missing_ok=True)
