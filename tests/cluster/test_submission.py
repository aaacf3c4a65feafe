"""Jobs on a real cluster: from a shared checkout, from a bundle, joined, stopped, failed, refused."""

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cluster.nodes import RAY, RayCluster
from tests.kills import Watched
from tests.workspace import PATIENCE_S, Workspace, make

SUBMIT = (sys.executable, "-m", "pipeline.submit")
STAGES = ("prepare", "train", "evaluate", "report")
FROM_CD = 2  # of a POSIX shell whose `cd` fails
FOUR_RUNS = {"tiny.seeds": [0, 1], "tiny.networks": {"plain-18": None, "resnet-18": None}, "tiny.train.iterations": 200}
LONG = {
    "tiny.train.iterations": 1500,
    "tiny.train.record_every": 100,
    "tiny.train.validate_every": 1500,
    "tiny.networks": {"plain-18": None},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.1,
}


def checkout(folder: Path, ray_cluster: RayCluster, changes: dict[str, Any] | None = None) -> Workspace:
    """A git checkout with all files committed, whose commands know the cluster."""
    plain = make(folder, changes, prepared=False)
    variables = {**ray_cluster.environment, "RAY_API_SERVER_ADDRESS": ray_cluster.dashboard}
    workspace = Workspace(plain.folder, variables)
    workspace.repository()
    workspace.run("git", "add", "--all")
    workspace.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", "all")
    return workspace


def commit(workspace: Workspace) -> str:
    return workspace.run("git", "rev-parse", "HEAD").strip()


def ask(ray_cluster: RayCluster, path: str) -> Any:
    headers = {"Authorization": f"Bearer {ray_cluster.token_file.read_text()}"}
    answer = requests.get(f"{ray_cluster.dashboard}{path}", headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


def fan_outs(ray_cluster: RayCluster) -> dict[str, set[str]]:
    """The nodes that have finished runs or evaluations, for every stage that sent some out."""
    stages: dict[str, set[str]] = {}
    for task in rows(ray_cluster, "tasks"):
        if task["name"] == "execute" and task["state"] == "FINISHED":
            stages.setdefault(task["job_id"], set()).add(task["node_id"])
    return stages


def rows(ray_cluster: RayCluster, what: str) -> Any:
    return ask(ray_cluster, f"/api/v0/{what}?detail=true&limit=10000")["data"]["result"]["result"]


def alive(ray_cluster: RayCluster) -> list[Any]:
    return [entry for entry in rows(ray_cluster, "nodes") if entry["state"] == "ALIVE"]


def wait_for(watched: Watched, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not any(text in line for line in list(watched.lines)):
        assert time.monotonic() < deadline, watched.lines
        assert watched.process.poll() is None, watched.lines
        time.sleep(0.05)


def error(workspace: Workspace, *words: str, code: int) -> str:
    """The one line with which the command ends."""
    lines = workspace.run(*SUBMIT, *words, code=code).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_every_node_has_an_address_of_its_own(ray_cluster: RayCluster) -> None:
    nodes = alive(ray_cluster)
    assert len(nodes) == 3
    if ray_cluster.network == "loopback":
        pytest.skip("no network namespaces here: all nodes of the cluster are on 127.0.0.1")
    assert {entry["node_ip"] for entry in nodes} == {node.ip for node in ray_cluster.nodes}
    assert len({node.ip for node in ray_cluster.nodes}) == 3


def test_a_shared_checkout(ray_cluster: RayCluster, tmp_path: Path) -> None:
    """All four stages; both that fan out do so on both workers; who submits the same meanwhile joins."""
    workspace = checkout(tmp_path / "w", ray_cluster, FOUR_RUNS)
    before = fan_outs(ray_cluster)
    first = Watched(workspace.start(*SUBMIT, "tiny"))
    wait_for(first, "Running stage 'train@tiny'")
    second = Watched(workspace.start(*SUBMIT, "tiny"))
    wait_for(second, "joins it")
    assert (first.end(), second.end()) == (0, 0), first.lines
    name = first.lines[0].partition(":")[0]
    assert first.lines[0] == f"{name}: submitted to {ray_cluster.dashboard}, commit {commit(workspace)}\n"
    assert second.lines[0] == f"{name}: runs already; joins it\n"
    assert second.lines[1:] == first.lines[1:]  # the whole log, once
    assert first.lines[-1] == f"{name}: succeeded, exit code 0\n"
    assert [stage for stage in STAGES if f"Running stage '{stage}@tiny':\n" not in first.lines] == []
    assert "up to date" in workspace.run("dvc", "status")
    used = [nodes for stage, nodes in fan_outs(ray_cluster).items() if stage not in before]
    workers = {entry["node_id"] for entry in alive(ray_cluster) if not entry["is_head_node"]}
    assert len(workers) == 2
    assert used == [workers, workers]  # train, evaluate; the head has no CPU to lend


def test_a_bundle_goes_up_and_outputs_come_home(ray_cluster: RayCluster, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    workspace = checkout(tmp_path / "w", ray_cluster, {"storage": str(shared)})
    (workspace.folder / "params.yaml").write_text((workspace.folder / "params.yaml").read_text() + "# changed\n")
    (workspace.folder / "results" / "tiny").mkdir(parents=True)
    (workspace.folder / "results" / "tiny" / "old.json").write_text("{}")
    output = workspace.run(*SUBMIT, "tiny", "--bundle")
    assert [stage for stage in STAGES if f"Running stage '{stage}@tiny':" not in output] == []
    assert "up to date" in workspace.run("dvc", "status")
    assert workspace.run("git", "status", "--porcelain").split() == [
        "M",
        "params.yaml",
        "??",
        "dvc.lock",
        "??",
        "reports/",
    ]
    folder = workspace.folder
    assert sorted(path.name for path in (folder / "results" / "tiny").iterdir()) == [
        f"{run}.json" for run in ("plain-18-seed0", "plain-18-seed1", "resnet-18-seed3")
    ]
    record = json.loads((folder / "runs" / "tiny" / "resnet-18-seed3" / "run.json").read_text())
    report = json.loads((folder / "reports" / "tiny" / "report.json").read_text())
    assert record["commit"] == f"{commit(workspace)} (changed since)"
    assert report["provenance"]["git"] == {"commit": commit(workspace), "dirty": True}
    assert not (folder / ".runs").exists()  # nothing was trained here
    assert not list(folder.rglob(".*.new"))


def test_stop_and_plain_ray_job_submit(ray_cluster: RayCluster, tmp_path: Path) -> None:
    """--stop lets the stage end by itself; `ray job submit` with `dvc repro` goes on from the checkpoints."""
    workspace = checkout(tmp_path / "w", ray_cluster, LONG)
    follower = Watched(workspace.start(*SUBMIT, "tiny"))
    wait_for(follower, ": begins")
    wait_until(lambda: any(slot.glob("checkpoint-*") for slot in workspace.slots))
    assert workspace.run(*SUBMIT, "tiny", "--stop").endswith(": ended; finished runs and checkpoints are kept\n")
    assert follower.end() == 143, follower.lines
    assert "terminated: finished runs and checkpoints are kept; the same command goes on\n" in follower.lines
    assert workspace.run(*SUBMIT, "tiny", "--stop") == "no such job runs\n"
    workspace.wait_until_idle()
    assert [slot for slot in workspace.slots if (slot / "run.json").exists()] == []
    assert any(any(slot.glob("checkpoint-*")) for slot in workspace.slots)
    command = f"cd {shlex.quote(str(workspace.folder))} && dvc repro train@tiny"
    output = workspace.run(RAY, "job", "submit", f"--address={ray_cluster.dashboard}", "--", "bash", "-c", command)
    assert ": goes on from iteration " in output
    assert "up to date" in workspace.run("dvc", "status", "train@tiny")


def test_a_job_that_fails(ray_cluster: RayCluster, tmp_path: Path) -> None:
    """Its exit code is the submission's, and it may be submitted again."""
    workspace = checkout(tmp_path / "w", ray_cluster)
    names = []
    for _ in range(2):
        lines = workspace.run(*SUBMIT, "tiny", "--checkout", str(tmp_path / "nowhere"), code=FROM_CD).splitlines()
        names.append(lines[0].partition(":")[0])
        assert "nowhere" in "".join(lines[1:])
        assert lines[-1] == f"{names[-1]}: failed, exit code {FROM_CD}"
    assert names[1] == f"{names[0]}-2"


def test_refusals_are_one_line(ray_cluster: RayCluster, tmp_path: Path) -> None:
    workspace = checkout(tmp_path / "w", ray_cluster)
    assert "no experiment 'tinny', did you mean 'tiny'?" in error(workspace, "tinny", code=2)
    nobody = "http://127.0.0.1:1"
    assert error(workspace, "tiny", "--address", nobody, code=3).startswith(f"error: {nobody}: no Ray dashboard (")
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    workspace.variables["RAY_AUTH_TOKEN_PATH"] = str(wrong)
    assert "the cluster refused the token; set RAY_AUTH_MODE=token" in error(workspace, "tiny", code=3)
    workspace.variables["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "no-file")
    assert "no-file: no file that can be read" in error(workspace, "tiny", code=3)
    del workspace.variables["RAY_AUTH_MODE"], workspace.variables["RAY_AUTH_TOKEN_PATH"]
    workspace.variables["HOME"] = str(tmp_path)  # no token there either
    assert "the cluster refused the token" in error(workspace, "tiny", code=3)
    assert [
        job for job in ask(ray_cluster, "/api/jobs/") if job["entrypoint"].startswith(f"cd {workspace.folder}")
    ] == []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
