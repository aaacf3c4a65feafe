"""The stages as jobs on two workers: in a shared checkout, in an upload, and by Ray's own command."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.nodes import RAY, RayCluster
from tests.factories.workspace import ROOT, Workspace, make, wait_for

SUBMIT = (sys.executable, "-m", "pipeline", "submit", "tiny")
STAGES = ("prepare", "train", "evaluate", "report")
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
FOUR_RUNS = {"tiny.seeds": [0, 1], "tiny.networks": {"plain-18": None, "resnet-18": None}}
LONG = {
    "tiny.train.iterations": 1500,
    "tiny.train.lr_drops": [1000],
    "tiny.train.validate_every": 1500,
    "tiny.networks": {"plain-18": None},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.1,
}
pytestmark = pytest.mark.slow


def checkout(folder: Path, ray_cluster: RayCluster, changes: dict[str, Any], *, prepared: bool = False) -> Workspace:
    """A git checkout with all files committed, whose commands know the cluster."""
    made = make(folder, changes, prepared=prepared)
    workspace = Workspace(made.folder, {**ray_cluster.environment, "RAY_API_SERVER_ADDRESS": ray_cluster.dashboard})
    workspace.repository()
    for name in (".rayignore", "requirements.lock"):
        shutil.copy(ROOT / name, workspace.folder)
    workspace.run("git", "add", "--all")
    workspace.run(*GIT, "commit", "--quiet", "--message", "all")
    return workspace


def test_a_shared_checkout(ray_cluster: RayCluster, tmp_path: Path) -> None:
    workspace = checkout(tmp_path / "w", ray_cluster, FOUR_RUNS)
    output = workspace.run(*SUBMIT)
    assert [stage for stage in STAGES if f"Running stage '{stage}@tiny':\n" not in output] == []
    assert "up to date" in workspace.run("dvc", "status")
    assert len(workspace.weights()) == 4


def test_the_runs_of_an_upload_are_read_at_home(ray_cluster: RayCluster, tmp_path: Path) -> None:
    """The data go up with the code, so that both workers have them; no run is trained at home."""
    workspace = checkout(tmp_path / "w", ray_cluster, {**FOUR_RUNS, "storage": str(tmp_path / "store")})
    workspace.run("dvc", "repro", "prepare@tiny")
    workspace.run("git", "add", "dvc.lock")
    (workspace.folder / "params.yaml").open("a").write("# changed\n")
    output = workspace.run(*SUBMIT, "--working-dir")
    assert "Stage 'prepare@tiny' didn't change, skipping" in output
    assert "4 to train" in output
    assert not (workspace.folder / "runs").exists()
    output = workspace.run("dvc", "repro", "report@tiny")
    assert "tiny: 4 runs, 4 in the run store, 0 to train" in output
    revision = workspace.run("git", "rev-parse", "HEAD").strip()
    record = workspace.folder / "runs" / "tiny" / "resnet-18-seed1" / "run.json"
    assert f"{revision} (changed since)" in record.read_text()


def test_rays_own_command_trains_in_an_upload(ray_cluster: RayCluster, tmp_path: Path) -> None:
    workspace = checkout(tmp_path / "w", ray_cluster, {**FOUR_RUNS, "storage": str(tmp_path / "store")}, prepared=True)
    workspace.variables["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"
    submit = (RAY, "job", "submit", "--working-dir", ".", "--", "python", "-m", "pipeline")
    assert "4 to train" in workspace.run(*submit, "train", "tiny")
    assert len(workspace.finished()) == 4


def test_a_stopped_job_resumes_from_its_checkpoints(ray_cluster: RayCluster, tmp_path: Path) -> None:
    workspace = checkout(tmp_path / "w", ray_cluster, LONG)
    follower = workspace.start(*SUBMIT)
    wait_for(lambda: any(any(run.glob("checkpoint-*")) for run in workspace.run_folders), "no checkpoint")
    assert "stopped; finished runs and checkpoints are kept" in workspace.run(*SUBMIT, "--stop")
    output, _ = follower.communicate(timeout=60)
    assert follower.returncode == 143, output
    name, last = (
        output.partition(":")[0],
        "terminated: finished runs and checkpoints are kept; the same command resumes",
    )
    wait_for(lambda: last in workspace.run(RAY, "job", "logs", name), "no last line")  # it may come after the job's end
    workspace.wait_until_idle()
    assert workspace.finished() == []
    shared = f"cd {workspace.folder} && exec dvc repro train@tiny"
    workspace.run(RAY, "job", "submit", "--", "bash", "-c", shared)
    (run,) = workspace.finished()
    assert json.loads((run / "run.json").read_text())["attempts"] == 2


def test_the_doctor_checks_every_node(ray_cluster: RayCluster, tmp_path: Path) -> None:
    workspace = checkout(tmp_path / "w", ray_cluster, {}, prepared=True)
    shared = f"cd {workspace.folder} && exec python -m pipeline doctor"
    lines = workspace.run(RAY, "job", "submit", "--", "bash", "-c", shared).splitlines()
    assert [line for line in lines if line.startswith("fix: ")] == []
    assert "ok: Ray: cluster of 3 nodes, 2 CPUs, 0 GPUs" in lines
    for what in ("versions", "authentication", "GPUs", "temporary files", "storage"):
        nodes = {line.partition(" on ")[2].partition(": ")[0] for line in lines if line.startswith(f"ok: {what} on ")}
        assert len(nodes) == 3, what
        if ray_cluster.network == "namespaces":
            assert nodes == {node.ip for node in ray_cluster.nodes}
