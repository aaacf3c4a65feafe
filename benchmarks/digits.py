"""The experiment `digits` cut short for a benchmark, and the time of the whole one told from it.

Both sides train all 23 runs for a few of their iterations. Everything around the iterations (start-up, data, networks,
records) is then in the wall time once, as it is in the whole experiment. The iterations that are missing are added at
the pace of those after each run's first row, for the first ones make what the later ones reuse.
"""

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[1]
NAME = "digits"
ITERATIONS, RECORD_EVERY = 6, 2
QUICK_ITERATIONS, QUICK_NETWORKS = 2, {"plain-18": {"seeds": [0]}}


@dataclass(frozen=True, slots=True)
class Pace:
    """How one run of the short experiment trained."""

    run: str
    iterations: int
    seconds: float  # spent in all its iterations
    first_row: int  # iterations until its first row
    first_row_s: float  # seconds of them

    def whole(self, iterations: int) -> float:
        """Seconds that so many iterations take."""
        each = (self.seconds - self.first_row_s) / (self.iterations - self.first_row)
        return self.seconds + (iterations - self.iterations) * each


def whole_iterations() -> int:
    iterations: int = read_yaml(ROOT / "params.yaml")[NAME]["train"]["iterations"]
    return iterations


def write_short(folder: Path, *, quick: bool) -> Path:
    """params.yaml in `folder` with the experiment alone and few iterations; the schedule shrinks with them."""
    section: dict[str, Any] = read_yaml(ROOT / "params.yaml")[NAME]
    recipe, iterations = section["train"], QUICK_ITERATIONS if quick else ITERATIONS
    drops = {drop * iterations // recipe["iterations"] for drop in recipe["lr_drops"]}
    recipe |= {
        "iterations": iterations,
        "lr_drops": sorted(drop for drop in drops if drop > 0),
        "record_every": 1 if quick else RECORD_EVERY,
    }
    if quick:
        section["networks"] = QUICK_NETWORKS
    path = folder / "params.yaml"
    path.write_text(json.dumps({"experiments": [NAME], "storage": ".runs", NAME: section}))  # JSON is YAML
    return path


def whole_s(wall_s: float, paces: Sequence[Pace], iterations: int, workers: int) -> float:
    """Seconds of the whole experiment with `iterations` a run, from a short one that took `wall_s`."""
    short = makespan([pace.seconds for pace in paces], workers)
    return wall_s - short + makespan([pace.whole(iterations) for pace in paces], workers)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last run ends, the longest ones dealt out first, each to the worker that is free first."""
    free = [0.0] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + each)
    return max(free)
