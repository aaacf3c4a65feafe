"""One run of the experiment `digits` on two workers, for both sides of a benchmark: Ray around it against torchrun."""

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from benchmarks.harness import Work
from benchmarks.turns import ROOT
from pipeline.config.yaml_file import read_yaml

Kind = Literal["steady", "total"]
NAME, WORKERS = "together", 2
NETWORK, RUN = "resnet-34", "resnet-34-seed0"
ITERATIONS: dict[Kind, int] = {
    "steady": 300,
    "total": 600,
}  # `total`: most of a minute, so that what starts up has its fair share
SHORT = 10  # iterations of the first turn, which is not counted
QUICK = 4

Mark = tuple[int, float]  # iterations, and the time in seconds at which so many were finished
Found = tuple[Mapping[str, Tensor], Sequence[Mark]]  # the weights in the end, and a mark for each history row


def turns(kind: Kind, quick: bool, train: Sequence[str], found: Callable[[Path], Found]) -> Work:
    """Turns of one side: Python is started with the words `train` in a folder, and `found` there what came of it.

    Told is the time of an iteration behind the first third, or that of the whole command.
    """
    folder = _new_folder(kind, quick)
    counts = iter([SHORT] if not quick else [])  # the first turn only warms up

    def go() -> float:
        iterations = next(counts, QUICK if quick else ITERATIONS[kind])
        write_params(folder, iterations, quick=quick)
        began = time.perf_counter()
        command(folder, *train)
        wall_s = time.perf_counter() - began
        weights, marks = found(folder)
        require_same(weights, iterations)
        return wall_s if kind == "total" else pace(marks)

    return go


def _new_folder(kind: Kind, quick: bool) -> Path:
    """With data; gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    counts = [QUICK] if quick else [SHORT, ITERATIONS[kind]]
    forget(counts)
    atexit.register(forget, counts)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    prepare(folder, quick=quick)
    return folder


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
    """Seconds of the clock for an iteration, with all that is done between two, behind the first third of the run.

    In the first seconds of ours MLflow makes its tables in the driver: that is in the time of the whole command.
    """
    last, ended = marks[-1]
    first, began = next(mark for mark in marks if 3 * mark[0] >= last)
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
