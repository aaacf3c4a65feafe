"""Runs of two workers on a cluster that loses a node and gets another: one goes on with what there is, one waits."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeline.store.checkpoints import DIGEST_BYTES, _state
from tests.cluster.nodes import RayCluster, cluster
from tests.kills import Watched
from tests.workspace import PATIENCE_S, Workspace, make

ENDLESS = 10**6  # iterations: what is to be seen is seen long before
CHANGES: dict[str, Any] = {
    "tiny.train.workers": 2,
    "tiny.train.iterations": ENDLESS,
    "tiny.train.lr_drops": [],
    "tiny.train.record_every": 1000,
    "tiny.train.validate_every": 1000,
    "tiny.networks": {"resnet-18": {"train": {"min_workers": 1}}, "plain-18": None},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.2,
}
HEALTH = {  # of Ray's, so that a node that is killed is known to be dead within seconds
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}

DRAIN = """
import sys, time, ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
address, ip = sys.argv[1:]
ray.init(address=address, logging_level="ERROR", log_to_driver=False)
node = next(node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeManagerAddress"] == ip)
reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
deadline_ms = int(time.time() * 1000) + 600_000
accepted, why = ray._raylet.GcsClient(address=address).drain_node(node, reason, "a test", deadline_ms)
assert accepted, why
"""  # as whoever takes a machine away tells Ray of it


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with cluster(tmp_path_factory.mktemp("ray"), dashboard=False, settings=HEALTH) as made:
        yield made


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, nodes: RayCluster) -> Workspace:
    made = make(tmp_path_factory.mktemp("elastic") / "w", CHANGES)
    return Workspace(made.folder, {**nodes.environment, "RAY_ADDRESS": nodes.gcs})


@contextmanager
def training(nodes: RayCluster, workspace: Workspace, network: str) -> Iterator[Watched]:
    """On the machine of the head; ended by Ctrl-C."""
    command = ("python", "-m", "pipeline.train", "tiny", "--only", network)
    watched = Watched(workspace.start(*nodes.inside(0, workspace.folder, *command)))
    try:
        yield watched
        os.killpg(watched.process.pid, signal.SIGINT)
        assert watched.end() == 130, watched.lines
        workspace.wait_until_idle()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(watched.process.pid, signal.SIGKILL)


def wait(watched: Watched, for_what: str, seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < deadline, (for_what, watched.lines)
        assert watched.process.poll() is None, (for_what, watched.lines)
        time.sleep(0.1)


def said(watched: Watched, text: str) -> int:
    return sum(text in line for line in list(watched.lines))


def last_state(workspace: Workspace) -> dict[str, Any]:
    """Of the newest checkpoint there is, of whichever run."""
    paths = [path for slot in workspace.slots for path in slot.glob("checkpoint-*")]
    try:
        newest = max(paths, key=lambda path: path.stat().st_mtime_ns)
        return _state(newest.read_bytes()[DIGEST_BYTES:]) or {}
    except (OSError, ValueError):  # none yet, or just gone
        return {}


def sizes(workspace: Workspace) -> list[int]:
    return [workers for _, workers in last_state(workspace).get("world_sizes", [])]


@pytest.mark.slow
def test_an_elastic_run_goes_on_with_one_worker_and_then_with_two(nodes: RayCluster, workspace: Workspace) -> None:
    with training(nodes, workspace, "resnet-18") as watched:
        wait(watched, "a checkpoint of two workers", lambda: sizes(workspace) == [2])
        nodes.nodes[2].kill()
        wait(watched, "a checkpoint of one worker", lambda: sizes(workspace) == [2, 1])
        assert said(watched, "trains with 1 of 2 workers") == 1
        assert said(watched, ", 2 retries left") == 1
        nodes.start_until_up(2)
        wait(watched, "a checkpoint of two again", lambda: sizes(workspace) == [2, 1, 2])
        assert said(watched, "leaves 1 worker(s) for 2, which find places now; goes on from iteration ") == 1
        if nodes.network == "namespaces":  # else all nodes have one address
            node = nodes.nodes[2]
            workspace.run(*nodes.inside(0, workspace.folder, "python", "-c", DRAIN, nodes.gcs, node.ip))
            wait(watched, "a checkpoint of one, again", lambda: sizes(workspace) == [2, 1, 2, 1])
            assert said(watched, f"leaves node {node.ip}, which is being drained; goes on from iteration ") == 1
        assert said(watched, "lost its worker") == 1  # neither more workers nor a node that says when it goes cost one
    nodes.nodes[2].kill()  # it takes no more work
    nodes.start_until_up(2)
    iterations = [iteration for iteration, _ in last_state(workspace)["world_sizes"]]
    assert iterations == sorted(set(iterations))


@pytest.mark.slow
def test_another_waits_for_its_second_worker(nodes: RayCluster, workspace: Workspace) -> None:
    with training(nodes, workspace, "plain-18") as watched:
        wait(watched, "training", lambda: said(watched, "plain-18-seed0: begins") == 1)
        wait(watched, "a checkpoint", lambda: last_state(workspace).get("world_sizes") == [[0, 2]])
        nodes.nodes[2].kill()
        wait(watched, "the loss", lambda: said(watched, "the cluster has shrunk") == 1)
        assert said(watched, "a run asks for 2 workers of 1 CPUs") == 1
        assert said(watched, "lost its worker") == 1
        nodes.start_until_up(2)
        wait(watched, "the rest", lambda: said(watched, "plain-18-seed0: goes on from iteration ") == 1)
        reached = last_state(workspace)["iteration"]
        wait(watched, "a later checkpoint", lambda: last_state(workspace).get("iteration", 0) > reached)
    assert last_state(workspace)["world_sizes"] == [[0, 2]]
