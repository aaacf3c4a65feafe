"""Scenarios, what they did and found, and the processes in which they are played."""

import ctypes
import importlib
import itertools
import json
import math
import multiprocessing
import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOBS = (os.cpu_count() or 1) + 1
PR_SET_PDEATHSIG = 1  # of sys/prctl.h
Mutation = Callable[..., Any]  # breaks the code that a scenario meets


@dataclass(slots=True)
class Log:
    """What a scenario did and found; a line of JSON per event, written as it happens."""

    path: Path | None
    scenario: str
    seed: int
    done: Counter[str] = field(default_factory=Counter)  # faults by kind
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def fault(self, kind: str, **facts: Any) -> None:
        self.done[kind] += 1
        self._write("fault", kind=kind, **facts)

    def check(self, holds: bool, what: str, **facts: Any) -> None:
        """Records something that must hold whatever happened."""
        if not holds:
            self.wrong.append(what)
        self._write("check", holds=holds, what=what, **facts)

    def _write(self, event: str, **facts: Any) -> None:
        if self.path is not None:
            line = {"scenario": self.scenario, "seed": self.seed, "event": event, **facts}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")


@dataclass(slots=True)
class Play:
    """One performance of a scenario: so many faults, drawn from a seed; with a mutation until a difference is seen."""

    count: int
    log: Log
    mutation: Mutation | None = None
    draw: random.Random = field(default_factory=random.Random)

    @property
    def over(self) -> bool:
        return self.log.done.total() >= self.count or (self.mutation is not None and bool(self.log.wrong))


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of fault, and what must hold then."""

    what: str
    holds: str
    count: int  # of faults in a whole pass
    function: str  # "module:name" in tests.chaos, called with a Play
    cluster: bool = False  # it needs several nodes


SAME = "the weights, histories and gradients are bit-identical to those of the undisturbed run"
ON_CLUSTER = f"{SAME}; every row once; attempts counted; no process left"
SCENARIOS = {
    "kills": Scenario(
        "SIGKILL of a training process, at random moments and before and after every step of writing its files",
        f"{SAME}; every batch applied once and in order",
        200,
        "kills:kills",
    ),
    "truncations": Scenario(
        "a checkpoint that is cut short; in one of four cases the one before it too",
        "the last intact state, or the beginning; never another",
        256,
        "damage:truncations",
    ),
    "bit-flips": Scenario(
        "a checkpoint with one bit flipped; in one of four cases the one before it too",
        "the last intact state, or the beginning; never another",
        256,
        "damage:bit_flips",
    ),
    "overtaken": Scenario(
        "two attempts that begin at once; an attempt that is suspended, overtaken, and resumed",
        f"one of the two trains; the overtaken one writes nothing more; {SAME}",
        60,
        "overtaken:overtaken",
    ),
    "full-disks": Scenario(
        "the disk becomes full at a drawn byte: run store, data, runs, results, reports, MLflow's SQLite file",
        "one line, exit code 3; the last good state is kept, no half-written file; with free space, bit-identical",
        60,
        "disks:full_disks",
    ),
    "mlflow": Scenario(
        "the MLflow server is killed, suspended, slow, refuses, resets, answers 500 or has a full disk",
        "no step of training is held up for more than 1 s; afterwards every row once, none lost",
        21,
        "outages:outages",
    ),
    "nodes": Scenario(
        "a worker node dies: its processes are killed, or it falls silent", ON_CLUSTER, 50, "nodes:node_deaths", True
    ),
    "heads": Scenario(
        "the head of the cluster dies",
        f"the stage ends with exit code 6 within 90 s, and resumes in a new cluster; {ON_CLUSTER}",
        10,
        "nodes:head_deaths",
        True,
    ),
    "suspensions": Scenario(
        "SIGSTOP of a process that trains on a cluster",
        f"it is found and killed within 60 s; {ON_CLUSTER}",
        20,
        "nodes:suspensions",
        True,
    ),
    "partitions": Scenario(
        "a worker node is cut off and comes back, before or after its runs were taken over",
        f"no attempt that was overtaken writes; {ON_CLUSTER}",
        20,
        "nodes:partitions",
        True,
    ),
}


def play(name: str, *, count: int, seed: int, path: Path | None = None, mutation: Mutation | None = None) -> Log:
    """Plays a scenario in a process of its own: what it does to itself, its mounts among it, ends with that process.

    A new process and no fork: what is played forks, and torch refuses autograd in the forks of a process in which it
    has had threads for it.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_end_with_parent) as process:
        return process.submit(_play, name, count, seed, path, mutation).result()


def play_all(names: Sequence[str], seed: int, fraction: float, path: Path, jobs: int = JOBS) -> list[Log]:
    """Plays several at a time, in the order of `names`; prints each when it is over."""
    spawn = multiprocessing.get_context("spawn")
    counts = {name: max(1, math.ceil(SCENARIOS[name].count * fraction)) for name in names}
    options: dict[str, Any] = {"mp_context": spawn, "max_tasks_per_child": 1, "initializer": _end_with_parent}
    with ProcessPoolExecutor(jobs, **options) as pool:
        playing = {name: pool.submit(_play, name, counts[name], seed, path, None) for name in _mixed(names)}
        return [playing[name].result() for name in names]


def _mixed(names: Sequence[str]) -> list[str]:
    """One on a cluster, which mostly waits for Ray, and one that computes, in turn."""
    lanes = [[name for name in names if SCENARIOS[name].cluster is cluster] for cluster in (True, False)]
    return [name for pair in itertools.zip_longest(*lanes) for name in pair if name is not None]


def _play(name: str, count: int, seed: int, path: Path | None, mutation: Mutation | None) -> Log:
    log, began = Log(path, name, seed), time.monotonic()
    module, _, function = SCENARIOS[name].function.partition(":")
    try:
        scenario = getattr(importlib.import_module(f"tests.chaos.{module}"), function)
        scenario(Play(count, log, mutation, random.Random(seed)))
        log.check(log.done.total() >= count or mutation is not None, "there were as many faults as required")
    except Exception as error:  # the others' figures are not lost for it
        traceback.print_exc()
        log.check(False, f"the scenario comes to its end: {type(error).__name__}: {error}")
    log.seconds = time.monotonic() - began
    faults = ", ".join(f"{number} {kind}" for kind, number in sorted(log.done.items()))
    print(f"{name}: {faults or 'no fault'}: {log.wrong[0] if log.wrong else 'all holds'}", flush=True)
    return log


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


HEAD = """# Faults on purpose

Generated by `make chaos`; do not edit. Each scenario is drawn from a seed and can be repeated by it:
`python -m tests.chaos SCENARIO --seed N`. `make test-all` plays a sample of each. It also proves that the harness sees
what it must see (`tests/chaos/test_protections.py`): a scenario fails when a protection is removed from the code.

"""


def page(logs: Sequence[Log], seed: int, fraction: float, mutations: dict[str, tuple[str, str]]) -> str:
    """Returns docs/faults.md. `mutations`: name -> scenario and description."""
    lines = [HEAD + f"Seed {seed}, {100 * fraction:g} % of each scenario; several were played at a time.\n"]
    lines.append("| scenario | fault | faults | must hold | differences | time |\n|---|---|---|---|---|---|")
    for log in logs:
        scenario = SCENARIOS[log.scenario]
        faults = "; ".join(f"{number} {kind}" for kind, number in sorted(log.done.items()))
        cells = f"`{log.scenario}`", scenario.what, faults, scenario.holds, str(len(log.wrong)), f"{log.seconds:.0f} s"
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("\n## Protections whose removal is seen\n\n| removed | scenario |\n|---|---|")
    lines += [f"| {what} | `{scenario}` |" for scenario, what in mutations.values()]
    return "\n".join(lines) + "\n"
