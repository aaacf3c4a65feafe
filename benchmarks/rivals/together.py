"""The rival: torchrun of a plain script that trains the same run."""

import json
from pathlib import Path

import torch

from benchmarks.harness import Work
from benchmarks.together import WORKERS, Found, turns

SCRIPT = ("-m", "benchmarks.rivals.together_script")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORKERS), *SCRIPT)


def steady(quick: bool) -> Work:
    return turns("steady", quick, TORCHRUN, found)


def total(quick: bool) -> Work:
    return turns("total", quick, TORCHRUN, found)


def found(folder: Path) -> Found:
    return torch.load(folder / "weights.pt", weights_only=True), json.loads((folder / "marks.json").read_text())
