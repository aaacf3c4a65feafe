"""What the doctor says about versions, devices, space, tokens and MLflow, and how to fix it."""

import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline import config, doctor
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.shared_storage import Node
from tests.factories.params import params, write

GPU_NODE, CPU_NODE = Node("a1", "10.0.0.2", 8.0, 2.0), Node("b2", "10.0.0.3", 8.0, 0.0)
CANARY = "canary-7d1f02-passphrase"
LOCK = Path(__file__).parents[2] / "requirements.lock"


def experiment(folder: Path, changes: dict[str, Any] | None = None) -> config.Experiment:
    return config.load("tiny", write(folder / "params.yaml", params(changes)))


def lines_of(node: Node, versions: dict[str, str] | None = None) -> dict[str, str]:
    found = doctor.look(node, doctor.versions() if versions is None else versions)
    return {line.what.partition(" on ")[0]: str(line) for line in found}


def test_versions_of_this_python_and_of_a_node(tmp_path: Path) -> None:
    assert doctor.check_versions(LOCK).ok
    (tmp_path / "lock").write_text('# pins\ntorch==9.9.9 ; platform_system == "Linux"\nAbsent==1\n')
    here = doctor.versions()["torch"].partition("+")[0]
    line = str(doctor.check_versions(tmp_path / "lock"))
    assert line == f"fix: versions: torch {here} instead of 9.9.9; pip install -r requirements.lock"
    assert "No such file" in str(doctor.check_versions(tmp_path / "none"))
    assert lines_of(CPU_NODE)["versions"] == "ok: versions on 10.0.0.3: as here"
    here = doctor.versions()["torch"]
    line = lines_of(CPU_NODE, {"torch": "1.0", "absent": "2"})["versions"]
    assert line.startswith(f"fix: versions on 10.0.0.3: torch {here} instead of 1.0, absent missing instead of 2; ")


@pytest.mark.parametrize(
    ("node", "files", "torch_gpus", "fix"),
    [
        (GPU_NODE, 2, 2, ""),
        (CPU_NODE, 0, 0, ""),
        (Node("c", "head", 0.0, 0.0), 1, 1, ""),
        (GPU_NODE, 2, 0, "install a torch built for CUDA"),
        (GPU_NODE, 0, 1, "start Ray there with as many --num-gpus as torch sees"),
        (CPU_NODE, 4, 4, "start Ray there without --num-gpus=0"),
    ],
)
def test_gpus_of_the_machine_torch_and_ray(node: Node, files: int, torch_gpus: int, fix: str) -> None:
    assert doctor.gpu_fix(node, files, torch_gpus).startswith(fix)
    assert bool(doctor.gpu_fix(node, files, torch_gpus)) == bool(fix)


def test_a_node_looks_at_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as Ray sets it for a task without GPUs
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    seen = lines_of(CPU_NODE)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert "in torch, 0 in Ray" in seen["GPUs"]
    assert seen["authentication"] == "ok: authentication on 10.0.0.3: token"
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setattr(doctor, "TEMPORARY_FREE", 2.0)
    seen = lines_of(CPU_NODE)
    assert seen["authentication"].startswith("fix: authentication on 10.0.0.3: off; ")
    assert seen["temporary files"].startswith("fix: temporary files on 10.0.0.3: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "ok: resources of tiny: a run takes 1 CPUs and 0 GPUs"),
        ({"tiny.resources.cpus": 3}, "fix: resources of tiny: params.yaml: tiny.resources.cpus: a run needs 3,"),
        ({"tiny.train.workers": 4}, "fix: resources of tiny: params.yaml: tiny.networks.plain-18: train.workers: 4 "),
    ],
)
def test_what_the_cluster_can_never_hold(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    line = doctor.check_resources(Capacity(nodes=((2.0, 0.0),), local=True), experiment(tmp_path, changes))
    assert str(line).startswith(words)


def test_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.free_space("data", tmp_path / "not" / "yet").ok
    monkeypatch.setattr(doctor, "FREE_BYTES", 2**60)
    assert str(doctor.free_space("data", tmp_path)).startswith("fix: space for data: ")


def test_tokens_are_required_and_never_shown(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{CANARY}\n")
    token.chmod(0o600)
    (tmp_path / "empty").touch()
    by_file = {"RAY_ADDRESS": "h:1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    assert doctor.check_token({}).ok
    assert doctor.check_token(by_file).ok
    assert doctor.check_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": CANARY}).ok
    token.chmod(0o644)
    bad = [
        doctor.check_token({"RAY_ADDRESS": "h:1"}),
        doctor.check_token({"RAY_AUTH_MODE": "disabled"}),
        doctor.check_token(by_file),
        doctor.check_token(by_file | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}),
        doctor.check_token(by_file | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "empty")}),
    ]
    assert [line for line in bad if line.ok] == []
    assert "chmod 600" in bad[2].fix
    assert [line for line in bad if CANARY in str(line)] == []


def test_the_databases_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert str(doctor.check_mlflow()).endswith("mlflow.db: will be created")
    assert list(tmp_path.iterdir()) == []
    sqlite3.connect("mlflow.db").close()
    Path("mlflow.db").write_bytes(b"no database at all" * 100)
    line = str(doctor.check_mlflow())
    assert line.startswith("fix: MLflow: sqlite:///")
    assert "file is not a database" in line
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all.db")
    assert "no file in a folder that exists; set MLFLOW_TRACKING_URI to " in str(doctor.check_mlflow())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "fix: params.yaml: params.yaml: "),
        ("experiments: [some]\n", "fix: params.yaml: params.yaml: no experiment 'some'"),
        ("experiments: []\n", "fix: params.yaml: no experiment is listed; list one"),
        ("experiments: [\n", "fix: params.yaml: params.yaml"),
    ],
)
def test_params_that_are_refused(text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("params.yaml").write_text(text)
    (line,), experiments = doctor.check_params([])
    assert str(line).startswith(words)
    assert experiments == []


def test_outside_of_git_and_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert str(doctor.check_git()).startswith("fix: git: no checkout with a commit; git clone")
    assert str(doctor.check_dvc()).startswith("fix: DVC: you are not inside of a DVC repository")
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert not doctor.check_git().ok
