"""A cluster that loses nodes or its head: runs resume elsewhere bit-identical, and no retry is counted."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.errors import LOST
from tests.cluster.nodes import QUICK, Node, RayCluster, cluster
from tests.factories.processes import TWO_RUNS, Watched, results, trained_here, training, under_way
from tests.factories.workspace import TRAIN, Workspace, make

pytestmark = pytest.mark.slow
CHANGES = TWO_RUNS | {"tiny.train.iterations": 1500, "tiny.resources.retries": 0}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with cluster(tmp_path_factory.mktemp("ray"), dashboard=False, settings=QUICK) as made:
        yield made


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make(tmp_path_factory.mktemp("faults") / "w", CHANGES)


@pytest.fixture(scope="module")
def expected(checkout: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return trained_here(checkout, tmp_path_factory.mktemp("here"))


def on(nodes: RayCluster, folder: Path) -> Workspace:
    return Workspace(folder, {**nodes.environment, "RAY_ADDRESS": nodes.gcs})


@contextmanager
def stage(nodes: RayCluster, workspace: Workspace, node: int = 0) -> Iterator[Watched]:
    """The train stage, called on that node."""
    with training(workspace, *nodes.inside(node, workspace.folder, *TRAIN)) as watched:
        yield watched


def node_of(nodes: RayCluster, pid: int) -> Node:
    return next(node for node in nodes.nodes[1:] if pid in node.pids())


def test_the_runs_of_a_node_that_dies_resume_elsewhere(
    nodes: RayCluster, checkout: Workspace, expected: dict[str, Any], tmp_path: Path
) -> None:
    workspace = on(nodes, checkout.untrained(tmp_path / "w").folder)
    with stage(nodes, workspace) as watched:
        node = node_of(nodes, under_way(workspace, watched).holder.pid)
        node.kill()
        watched.wait_for_line("its node is gone; continues on another one")
        assert watched.end() == 0, watched.text
    nodes.start_until_up(nodes.nodes.index(node))
    assert results(workspace) == expected


def test_a_data_parallel_run_waits_for_a_node_that_it_lacks(
    nodes: RayCluster, checkout: Workspace, tmp_path: Path
) -> None:
    """Two ranks, one on each node. The death of one costs a retry of the run, waiting for a node costs none."""
    workspace = on(nodes, checkout.untrained(tmp_path / "w").folder)
    changes = {"tiny.train.workers": 2, "tiny.networks": {"resnet-18": None}, "tiny.resources.retries": 1}
    workspace.configure(CHANGES | changes)
    with stage(nodes, workspace) as watched:
        under_way(workspace, watched)
        nodes.nodes[2].kill()
        watched.wait_for_line("the cluster has shrunk (cluster of 2 nodes, 1 CPUs, 0 GPUs); waits 600 s for nodes")
        nodes.start_until_up(2)
        assert watched.end() == 0, watched.text
    assert watched.text.count("lost a rank") == 1
    assert set(workspace.weights()) == {"resnet-18-seed0"}


@pytest.mark.parametrize("driver", [0, 1])
def test_a_stage_ends_when_the_head_is_lost_and_resumes_on_a_new_cluster(
    driver: int, nodes: RayCluster, checkout: Workspace, expected: dict[str, Any], tmp_path: Path
) -> None:
    """Called on the head's machine, or on a worker's."""
    workspace = on(nodes, checkout.untrained(tmp_path / "w").folder)
    with stage(nodes, workspace, driver) as watched:
        under_way(workspace, watched)
        for pid in nodes.nodes[0].pids():
            if psutil.Process(pid).name() == "gcs_server":
                os.kill(pid, signal.SIGKILL)
        assert watched.end() == LOST, watched.text
    assert watched.lines[-1] == (
        f"error: the Ray cluster at {nodes.gcs} does not answer any more; finished runs and checkpoints are kept: "
        "the same command resumes\n"
    )
    assert "Traceback" not in watched.text
    for node in nodes.nodes:
        node.kill()
    nodes.start_until_up(0)
    nodes.start_until_up(1, 2)
    with stage(nodes, workspace) as watched:
        assert watched.end() == 0, watched.text
    assert results(workspace) == expected
