"""All scenarios: what happens, how often, and what must hold then."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.damage import damages
from tests.chaos.killing import kills
from tests.chaos.log import Log


@dataclass(frozen=True, slots=True)
class Scenario:
    what: str
    holds: str
    number: int  # of faults in the whole pass
    run: Callable[[int, int, Log], None]  # (number, seed, log)
    cluster: bool = False  # it starts one, which `make test` does once for all of these


def later(module: str, function: str) -> Callable[[int, int, Log], None]:
    """A function of tests.chaos, imported when it is called."""

    def run(number: int, seed: int, log: Log) -> None:
        getattr(importlib.import_module(f"tests.chaos.{module}"), function)(number, seed, log)

    return run


ON_CLUSTER = "the same weights, bit for bit; every row once; attempts counted; no process left"

SCENARIOS = {
    "kills": Scenario(
        "SIGKILL of a training process, at random moments and before and after every step of writing its files",
        "the same weights, bit for bit; every batch applied once and in order",
        200,
        kills,
    ),
    "damage": Scenario(
        "a checkpoint cut short, or with one bit flipped; now and then the one before it too",
        "the last good state, or the beginning; never another",
        256,
        damages,
    ),
    "disk-full": Scenario(
        "the disk is full at a drawn byte: under the run store, data, runs, results, reports, MLflow's SQLite file",
        "the last good state is there, nothing half beside it; one line, exit code 3; with room again, the same bits",
        70,
        later("disk_full", "full_disks"),
    ),
    "mlflow": Scenario(
        "MLflow is away from a drawn iteration to another, or beyond the invocation's end",
        "no call of the tracker uses the network or is held up for more than 1 s; every row once, 0 lost, 0 doubled",
        20,
        later("mlflow_outages", "outages"),
    ),
    "nodes": Scenario(
        "a worker node dies: its processes are killed, or it falls silent",
        ON_CLUSTER,
        50,
        later("nodes", "nodes"),
        cluster=True,
    ),
    "heads": Scenario(
        "the head of the cluster dies",
        f"the stage ends within 60 s with an exit code of its own, and goes on in a new cluster; {ON_CLUSTER}",
        10,
        later("heads", "heads"),
        cluster=True,
    ),
    "stops": Scenario(
        "SIGSTOP of a process that trains on a cluster",
        f"found, and ended, within 30 s; {ON_CLUSTER}",
        20,
        later("stops", "stops"),
        cluster=True,
    ),
    "partitions": Scenario(
        "a worker node is cut off and comes back, in time or when it has been given up and its locks are gone",
        f"no attempt writes that was overtaken; {ON_CLUSTER}",
        20,
        later("partitions", "partitions"),
        cluster=True,
    ),
}


def play(log: Log, share: float) -> None:
    """The scenario of the log with that share of its faults."""
    scenario = SCENARIOS[log.scenario]
    scenario.run(max(1, math.ceil(scenario.number * share)), log.seed, log)
