"""The doctor on a healthy checkout with a local Ray, and without a cluster and an MLflow server."""

import shutil
import socket
import sys

import pytest

from tests.factories.workspace import ROOT, Workspace, make

DOCTOR = (sys.executable, "-m", "pipeline", "doctor")
CHECKED = {
    *("params.yaml", "git", "DVC", "versions", "MLflow", "authentication", "space for data", "space for storage"),
    *("Ray", "resources of tiny", "versions on", "authentication on", "GPUs on"),
    *("temporary files on", "storage on"),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make(tmp_path_factory.mktemp("doctor") / "w")
    shutil.copy(ROOT / "requirements.lock", workspace.folder)
    workspace.repository()
    workspace.run("git", "add", "--all")
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    workspace.run("git", *who, "commit", "--quiet", "--message", "all")
    return workspace


def topics(lines: list[str]) -> set[str]:
    """What the lines are about, without the names of nodes."""
    found = {line.split(": ")[1] for line in lines}
    return {f"{what.partition(' on ')[0]} on" if " on " in what else what for what in found}


def test_a_healthy_checkout_with_a_local_ray(checkout: Workspace) -> None:
    before = sorted(path.name for path in checkout.folder.iterdir())
    lines = checkout.run(*DOCTOR).splitlines()
    assert [line for line in lines if not line.startswith("ok: ")] == []
    assert topics(lines) == CHECKED
    assert "ok: DVC: dvc repro would run prepare@tiny, train@tiny, evaluate@tiny, report@tiny" in lines
    assert "ok: params.yaml: tiny, 3 runs" in lines
    assert any(line.startswith("ok: git: ") and line.endswith(", clean") for line in lines)
    assert sorted(path.name for path in checkout.folder.iterdir()) == sorted({*before, ".runs"})
    assert list((checkout.folder / ".runs").iterdir()) == []


def test_without_cluster_and_server_the_other_checks_continue(checkout: Workspace) -> None:
    with socket.socket() as silent:  # bound, but it does not listen
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        variables = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "canary-token"}
        variables |= {"MLFLOW_TRACKING_URI": f"http://me:canary-word@{address}"}
        output = Workspace(checkout.folder, variables).run(*DOCTOR, "tiny", code=3)
    *lines, last = output.splitlines()
    problems = [line for line in lines if line.startswith("fix: ")]
    assert last == f"{len(problems)} to fix"
    assert [line.split(": ")[1] for line in problems] == ["MLflow", "Ray"]
    assert f"http://{address}: cannot be reached; start it" in problems[0]
    assert f"RAY_ADDRESS={address}: no Ray cluster (Connection refused)" in problems[1]
    assert {"git", "DVC", "versions", "space for storage", "authentication"} <= topics(lines)
    assert "canary" not in output
