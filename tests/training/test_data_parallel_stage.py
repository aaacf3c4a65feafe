"""The train stage with a run of two workers, through Ray Train: any worker is killed or stopped, and no bit changes."""

import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.store.records import RunRecord, read
from tests.kills import Watched, attempts
from tests.workspace import PATIENCE_S, Workspace, make

ITERATIONS = 1200  # some seconds: longer than what is trained between the faults
CHANGES: dict[str, Any] = {
    "tiny.train.workers": 2,
    "tiny.train.iterations": ITERATIONS,
    "tiny.train.lr_drops": [1000],
    "tiny.train.record_every": 10,
    "tiny.train.validate_every": 50,
    "tiny.networks": {"resnet-18": None, "plain-18": {"train": {"workers": 1}}},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.2,
    "tiny.resources.retries": 6,
}
TRAIN = (sys.executable, "-m", "pipeline.train", "tiny")
RUN = "resnet-18-seed0"


def workers(watched: Watched) -> list[psutil.Process]:
    """The processes of Ray Train's workers."""
    found = []
    for process in psutil.Process(watched.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


def actors(watched: Watched) -> set[str]:
    """Kinds of actors that there are, by the names that Ray gives their processes."""
    found = set()
    for process in psutil.Process(watched.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            name = " ".join(process.cmdline())
            if name.startswith("ray::"):
                found.add(name.removeprefix("ray::").split()[0].partition(".")[0])
    return found - {"IDLE", "DashboardAgent", "RuntimeEnvAgent"}


def strike(watched: Watched, workspace: Workspace, fault: int, *, first: bool) -> psutil.Process:
    """Sends the signal to a worker, the first of the run or another, after a checkpoint of this attempt."""
    deadline, number, known = time.monotonic() + PATIENCE_S, None, ""
    while True:
        assert time.monotonic() < deadline, watched.lines
        assert watched.process.poll() is None, watched.lines
        time.sleep(0.05)
        for attempt in attempts(workspace):
            members = {process.pid: process for process in workers(watched)}
            if attempt.pid not in members:
                continue
            if attempt.number != number:
                number, known = attempt.number, attempt.checkpoint
            if attempt.checkpoint != known and len(members) == 2:
                pids = [pid for pid in members if (pid == attempt.pid) == first]
                members[pids[0]].send_signal(fault)
                return members[pids[0]]


def wait_for_loss(watched: Watched, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while sum("lost its worker" in line for line in list(watched.lines)) < count:
        assert time.monotonic() < deadline, watched.lines
        assert watched.process.poll() is None, watched.lines
        time.sleep(0.05)


@pytest.mark.slow
def test_any_worker_is_killed_or_stopped_and_the_run_is_the_same(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w", CHANGES)
    output = workspace.run(*TRAIN)
    assert f"finished after {ITERATIONS} iterations" in output
    records = {name: workspace.folder / "runs/tiny" / name / "run.json" for name in (RUN, "plain-18-seed0")}
    assert {name: read(RunRecord, path, "").workers for name, path in records.items()} == {RUN: 2, "plain-18-seed0": 1}
    undisturbed = workspace.weights(), workspace.histories()
    slot = next(slot for slot in workspace.slots if slot.name == read(RunRecord, records[RUN], "").key)
    for path in slot.iterdir():
        path.unlink()
    watched = Watched(workspace.start(*TRAIN))
    faults = [(signal.SIGKILL, True), (signal.SIGSTOP, False)]
    for count, (fault, first) in enumerate(faults, start=1):
        struck = strike(watched, workspace, fault, first=first)
        assert actors(watched) == {"Beats", "RayTrainWorker"}
        wait_for_loss(watched, count)
        # a stopped one is killed: it must not go on behind the next attempt
        assert not struck.is_running() or struck.status() == psutil.STATUS_ZOMBIE
    assert watched.end() == 0, watched.lines
    assert sum(": goes on" in line for line in watched.lines) == len(faults), watched.lines
    assert sum("gave no sign of life" in line for line in watched.lines) == 1, watched.lines
    assert (workspace.weights(), workspace.histories()) == undisturbed
    assert read(RunRecord, records[RUN], "").attempts == 1 + len(faults)
    assert not [path for path in (workspace.folder / ".runs").iterdir() if len(path.name) != 64]


def test_more_workers_than_there_is_room_for_are_refused_at_once(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w", {"tiny.train.batch_size": 1024, "tiny.train.workers": 1024})
    output = workspace.stage("train", code=3)
    assert "params.yaml: tiny.networks.plain-18: train.workers: 1024 of 1 CPUs and 0 GPUs each, Ray holds " in output
    assert "lower train.workers or resources.cpus" in output
    assert not (workspace.folder / "runs").exists()
    assert workspace.slots == []
