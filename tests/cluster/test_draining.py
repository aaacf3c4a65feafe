"""Nodes that are to go: a run leaves with a checkpoint; where no node is left, the stage waits and then gives up."""

import re
import signal
from pathlib import Path

from tests.cluster.nodes import Node, RayCluster, cluster
from tests.kills import TRAIN, Attempt, Watched
from tests.slow_run import RUN, assert_same_run, hurry, slow, under_way, undisturbed
from tests.workspace import PATIENCE_S

TIME_TO_LEAVE = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "300"}  # beside other tests; Ray's own 30 s are for users
SHRUNK = "the cluster has shrunk (cluster of 1 nodes, 0 CPUs, 0 GPUs): a run asks for 1 CPUs and 0 GPUs on one node"


def test_a_run_leaves_nodes_that_are_drained_and_a_cluster_without_room_is_given_up(tmp_path: Path) -> None:
    """The nodes get SIGTERM, as from Kubernetes when it takes a pod away; Ray then drains them. No loss is allowed."""
    whole = undisturbed(tmp_path / "whole", retries=0, wait_s=2)
    with cluster(tmp_path / "ray", dashboard=False, settings=TIME_TO_LEAVE) as made:
        workspace = slow(whole, tmp_path / "w", **made.environment, RAY_ADDRESS=made.gcs)
        watched = Watched(workspace.start(*made.inside(0, workspace.folder, *TRAIN)))
        nodes, iterations = [], []
        for number in (1, 2):
            node = _node_of(under_way(workspace, watched, number), made)
            node.process.send_signal(signal.SIGTERM)
            node.process.wait(timeout=PATIENCE_S)  # it is gone as soon as nobody works there any more
            nodes.append(node)
        assert watched.end() == 3, "".join(watched.lines)
        assert nodes[0] is not nodes[1]
        said = [line.removeprefix(f"{RUN}: ").rstrip() for line in watched.lines if line.startswith(f"{RUN}: ")]
        for node, line in zip(nodes, said[1::2], strict=False):
            left = re.fullmatch(r"leaves node (\S+), which is being drained; goes on from iteration (\d+)", line)
            assert left, said
            assert left[1] == node.ip
            iterations.append(int(left[2]))
        assert 0 < iterations[0] < iterations[1] < 400
        assert said[2] == f"goes on from iteration {iterations[0]}"
        assert said[4:] == [f"{SHRUNK}; waits 2 s for nodes"]
        assert watched.lines[-1].startswith(f"error: {SHRUNK}; waited "), watched.lines
        (kept, *_) = sorted((path.name for slot in workspace.slots for path in slot.glob("checkpoint-*")), reverse=True)
        assert kept == f"checkpoint-{iterations[1]:09d}"

        hurry(workspace)
        made.start_until_up(1)
        again = workspace.run(*made.inside(0, workspace.folder, *TRAIN))
        assert f"{RUN}: goes on from iteration {iterations[1]}\n" in again
    assert_same_run(workspace, whole)


def _node_of(attempt: Attempt, made: RayCluster) -> Node:
    (node,) = [node for node in made.nodes[1:] if attempt.pid in node.pids()]
    return node
