"""Several scenarios at a time, each in a process of its own."""

import itertools
import multiprocessing
import os
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.chaos.log import Log
from tests.chaos.scenarios import SCENARIOS, play

JOBS = (os.cpu_count() or 1) + 1

Played = tuple[Log, float]  # and its time in seconds


def play_all(names: list[str], seed: int, share: float, path: Path, jobs: int = JOBS) -> list[Played]:
    """In the order of `names`; says of each when it is over."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        playing = {name: pool.submit(_play_one, name, seed, share, path) for name in _mixed(names)}
        return [playing[name].result() for name in names]


def _mixed(names: list[str]) -> list[str]:
    """By turns one on a cluster, which waits most of the time for what Ray notices, and one that computes."""
    lanes = [[name for name in names if SCENARIOS[name].cluster is cluster] for cluster in (True, False)]
    return [name for pair in itertools.zip_longest(*lanes) for name in pair if name is not None]


def _play_one(name: str, seed: int, share: float, path: Path) -> Played:
    began = time.monotonic()
    log = Log(path, name, seed)
    try:
        play(log, share)
    except Exception as error:  # the figures of the others are not lost for it
        traceback.print_exc()
        log.check(False, f"the scenario comes to its end: {type(error).__name__}: {error}")
    faults = ", ".join(f"{number} {kind}" for kind, number in sorted(log.done.items()))
    print(f"{name}: {faults or 'no fault'}: {log.wrong[0] if log.wrong else 'all holds'}", flush=True)
    return log, time.monotonic() - began
