"""The train stage with a run of two ranks, through Ray Train: either rank is killed, and the run is bit-identical."""

import contextlib
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.records import RunRecord, read
from tests.factories.processes import Watched, assert_same, servers, training, under_way
from tests.factories.workspace import TRAIN, Workspace, make

pytestmark = pytest.mark.slow
RUN = "resnet-18-seed0"
CHANGES: dict[str, Any] = {
    "tiny.train.workers": 2,
    "tiny.train.iterations": 1500,
    "tiny.train.lr_drops": [1000],
    "tiny.train.record_every": 10,
    "tiny.train.validate_every": 50,
    "tiny.networks": {"resnet-18": None, "plain-18": {"train": {"workers": 1}}},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.2,
    "tiny.resources.retries": 2,
}


def record(workspace: Workspace, run: str) -> RunRecord:
    return read(RunRecord, workspace.folder / "runs/tiny" / run / "run.json", "")


def kill_rank(workspace: Workspace, watched: Watched, number: int, *, first: bool) -> None:
    """Kills rank 0, which holds the lease, or the other one, in the attempt of that number."""
    attempt = under_way(workspace, watched, number)
    watched.wait_until(lambda: len(servers(watched.process.pid, "RayTrainWorker")) >= 2)
    ranks = [psutil.Process(attempt.holder.pid)]
    if not first:
        ranks = [p for p in servers(watched.process.pid, "RayTrainWorker") if p.pid != attempt.holder.pid]
    with contextlib.suppress(psutil.NoSuchProcess):
        ranks[0].kill()
    watched.wait_until(lambda: watched.text.count("lost a rank") >= number)


def test_either_rank_is_killed_and_the_run_is_bit_identical(tmp_path: Path) -> None:
    undisturbed = make(tmp_path / "undisturbed", CHANGES)
    undisturbed.run(*TRAIN)
    assert {name: record(undisturbed, name).workers for name in (RUN, "plain-18-seed0")} == {
        RUN: 2,
        "plain-18-seed0": 1,
    }
    workspace = undisturbed.untrained(tmp_path / "w")
    workspace.configure(CHANGES | {"tiny.networks": {"resnet-18": None}})
    with training(workspace) as watched:
        kill_rank(workspace, watched, 1, first=True)
        kill_rank(workspace, watched, 2, first=False)
        assert watched.end() == 0, watched.text
    workspace.configure(CHANGES)
    workspace.run(*TRAIN)
    assert_same(workspace, undisturbed)
    assert record(workspace, RUN).attempts >= 3
