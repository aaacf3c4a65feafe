"""The doctor on every node of a cluster, and training that is refused where the nodes do not share the run store."""

import shutil
from pathlib import Path

import pytest

from tests.cluster.nodes import RAY, RayCluster, _session
from tests.workspace import ROOT, Workspace, make

GIT = ("git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.org")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, ray_cluster: RayCluster) -> Workspace:
    workspace = make(tmp_path_factory.mktemp("sharing") / "w")
    shutil.copy(ROOT / "requirements.lock", workspace.folder)
    workspace.repository()
    workspace.run(*GIT, "add", "--all")
    workspace.run(*GIT, "commit", "--quiet", "--message", "all")
    return Workspace(workspace.folder, ray_cluster.environment)


def job(checkout: Workspace, ray_cluster: RayCluster, command: str, code: int = 0) -> list[str]:
    """What a job in the checkout says."""
    inside = f"cd {checkout.folder} && exec {command}"
    words = (RAY, "job", "submit", "--address", ray_cluster.dashboard, "--", "bash", "-c", inside)
    return checkout.run(*words, code=code).splitlines()


def test_the_doctor_looks_at_every_node(checkout: Workspace, ray_cluster: RayCluster) -> None:
    lines = job(checkout, ray_cluster, "python -m pipeline.doctor")
    assert [line for line in lines if line.startswith("mend ")] == []
    assert "ok Ray: cluster of 3 nodes, 2 CPUs, 0 GPUs" in lines
    for what in ("versions", "authentication", "GPUs", "bf16", "shared memory", "temporary files", "clock", "storage"):
        there = {line.partition(" on ")[2].partition(": ")[0] for line in lines if line.startswith(f"ok {what} on ")}
        assert len(there) == 3, what
        if ray_cluster.network == "namespaces":
            assert there == {node.ip for node in ray_cluster.nodes}


def test_a_store_that_the_nodes_do_not_share_is_refused_before_training(
    checkout: Workspace, ray_cluster: RayCluster
) -> None:
    if ray_cluster.network != "namespaces":
        pytest.skip("only nodes with mounts of their own have folders that the others do not see")
    alone = _session() / "store"  # every node has a file system of its own there
    params = Path(checkout.folder / "params.yaml")
    whole = params.read_text()
    try:
        params.write_text(whole.replace("storage: .runs", f"storage: {alone}"))
        lines = job(checkout, ray_cluster, "python -m pipeline.train tiny", code=1)
    finally:
        params.write_text(whole)
    (error,) = {line for line in lines if line.startswith("error: ")}  # Ray shows the end of the log once more
    assert error.startswith(f"error: {alone} on node ")
    assert error.partition(" on node ")[2].split(":")[0] in {node.ip for node in ray_cluster.nodes[1:]}
    assert "what is written here is not seen there; mount one folder there on all nodes" in error
    assert not (checkout.folder / "runs").exists()
