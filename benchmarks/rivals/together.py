"""The rival: torchrun of a plain script that trains the same run."""

import json
import time

import torch

from benchmarks import together
from benchmarks.harness import Work
from benchmarks.sides.together import new_folder
from benchmarks.together import ITERATIONS, QUICK, SHORT, WORKERS

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORKERS))


def steady(quick: bool) -> Work:
    return turns("steady", quick)


def total(quick: bool) -> Work:
    return turns("total", quick)


def turns(kind: str, quick: bool) -> Work:
    folder = new_folder(kind, quick)
    counts = iter([SHORT] if not quick else [])

    def go() -> float:
        iterations = next(counts, QUICK if quick else ITERATIONS[kind])
        together.write_params(folder, iterations, quick=quick)
        began = time.perf_counter()
        together.command(folder, *TORCHRUN, "-m", "benchmarks.rivals.together_script")
        wall_s = time.perf_counter() - began
        together.require_same(torch.load(folder / "weights.pt", weights_only=True), iterations)
        return wall_s if kind == "total" else together.pace(json.loads((folder / "marks.json").read_text()))

    return go
