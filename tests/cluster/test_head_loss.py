"""The head dies in the middle of training: whoever talks to it ends and says so; a new cluster goes on."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

from pipeline.errors import LOST
from pipeline.submission import order
from tests.cluster.nodes import RayCluster, cluster
from tests.kills import TRAIN, Watched, attempts
from tests.workspace import PATIENCE_S, Workspace, make

SUBMIT = (sys.executable, "-m", "pipeline.submit", "tiny")
CHANGES = {
    "tiny.train.iterations": 600,
    "tiny.networks": {"plain-18": None},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.1,
}


def stage(made: RayCluster, node: int, workspace: Workspace) -> Watched:
    """`train`, called on that node."""
    there = Workspace(workspace.folder, {**made.environment, "RAY_ADDRESS": made.gcs})
    return Watched(there.start(*made.inside(node, there.folder, *TRAIN)))


def dashboard(made: RayCluster, method: str, path: str, content: dict[str, str] | None = None) -> "requests.Response":
    headers = {"Authorization": f"Bearer {made.token_file.read_text()}"}
    answer = requests.request(method, f"{made.dashboard}{path}", json=content, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer


def drivers(made: RayCluster) -> int:
    """Of stages that are connected."""
    return sum(
        job["type"] == "DRIVER" and job["status"] == "RUNNING" for job in dashboard(made, "GET", "/api/jobs/").json()
    )


def follower(made: RayCluster, workspace: Workspace) -> Watched:
    """Of a job that only sleeps, under the name of what is submitted, which is joined."""
    there = Workspace(workspace.folder, {**made.environment, "RAY_API_SERVER_ADDRESS": made.dashboard})
    with contextlib.chdir(there.folder):
        name = order.read(["tiny"], None, bundled=False, root=Path()).name
    dashboard(made, "POST", "/api/jobs/", {"entrypoint": "sleep 3600", "submission_id": name})
    watched = Watched(there.start(*SUBMIT))
    wait_until(lambda: any("joins it" in line for line in list(watched.lines)), watched)
    return watched


def wait_until(condition: Callable[[], bool], watched: Watched) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, watched.lines
        assert watched.process.poll() is None, watched.lines
        time.sleep(0.05)


def kill_gcs(made: RayCluster) -> None:
    (gcs,) = [pid for pid in made.nodes[0].pids() if b"/gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(gcs, signal.SIGKILL)


def test_the_head_is_lost(tmp_path: Path) -> None:
    trained = make(tmp_path / "trained", CHANGES)
    untouched = Workspace(shutil.copytree(trained.folder, tmp_path / "untouched"))
    with cluster(tmp_path / "ray", workers=1) as made:
        first = stage(made, 0, trained)
        first.wait_for_training()
        wait_until(lambda: any(attempt.checkpoint for attempt in attempts(trained)), first)
        attempts(trained)[0].signal(signal.SIGSTOP)  # else the run may be finished before its driver has ended
        second = stage(made, 1, untouched)  # there is one CPU: it waits
        wait_until(lambda: drivers(made) == 2, second)
        third = follower(made, untouched)
        kill_gcs(made)
        ends = [watched.end() for watched in (first, second, third)]
        assert ends == [LOST] * 3, [first.lines, second.lines, third.lines]
        for watched in (first, second):
            assert watched.lines[-1] == (
                f"error: the head of the Ray cluster ({made.gcs}) does not answer any more; finished runs and "
                "checkpoints are kept: the same command goes on, on a new cluster too\n"
            )
            assert not any("Traceback" in line or "core_worker" in line for line in watched.lines), watched.lines
        assert third.lines[-1].startswith(
            f"error: {made.dashboard}: the head of the cluster does not answer any more; "
        )
        assert len(third.lines) == 2, third.lines
        for node in made.nodes:
            node.kill()
        made.dashboard = ""  # nobody needs it any more, and it takes long to come up
        made.start_until_up(0)
        made.start_until_up(1)
        again, whole = stage(made, 0, trained), stage(made, 1, untouched)
        assert (again.end(), whole.end()) == (0, 0), [again.lines, whole.lines]
    assert any(": goes on from iteration " in line for line in again.lines), again.lines
    assert any(": begins" in line for line in whole.lines), whole.lines
    assert len(untouched.weights()) == 1
    assert trained.weights() == untouched.weights()
    assert trained.histories() == untouched.histories()
