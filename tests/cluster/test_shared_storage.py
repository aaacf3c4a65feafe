"""Training on several nodes: refused where they do not share the run store, and with a bucket for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import RAY, RayCluster, _session
from tests.factories.buckets import CREDENTIALS, Server, s3
from tests.factories.workspace import ROOT, Workspace, make

pytestmark = pytest.mark.slow
GIT = ("git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.org")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that all nodes have for AWS in their environment. It is written when the addresses are known."""
    path = tmp_path_factory.mktemp("aws") / "config"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CONFIG_FILE", str(path))
        yield path


@pytest.fixture(scope="module")
def ray_cluster(aws: Path, ray_cluster: RayCluster) -> RayCluster:
    return ray_cluster


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, ray_cluster: RayCluster) -> Workspace:
    workspace = make(tmp_path_factory.mktemp("sharing") / "w")
    shutil.copy(ROOT / "requirements.lock", workspace.folder)
    workspace.repository()
    workspace.run(*GIT, "add", "--all")
    workspace.run(*GIT, "commit", "--quiet", "--message", "all")
    return Workspace(workspace.folder, ray_cluster.environment)


def job(checkout: Workspace, ray_cluster: RayCluster, command: str, code: int = 0) -> list[str]:
    """The output of a job in the checkout."""
    inside = f"cd {checkout.folder} && exec {command}"
    words = (RAY, "job", "submit", "--address", ray_cluster.dashboard, "--", "bash", "-c", inside)
    return checkout.run(*words, code=code).splitlines()


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
        lines = job(checkout, ray_cluster, "python -m pipeline train tiny", code=1)
    finally:
        params.write_text(whole)
    (error,) = {line for line in lines if line.startswith("error: ")}  # Ray shows the end of the log once more
    assert error.split(": ")[1] in {f"node {node.ip}" for node in ray_cluster.nodes[1:]}
    assert error.split(": ")[2] == str(alone)
    assert "what is written here is not seen there; mount one folder there on all nodes" in error
    assert not (checkout.folder / "runs").exists()


def endpoint(server: Server, ray_cluster: RayCluster) -> str:
    """The address of the server on this machine, as the nodes reach it."""
    here = ray_cluster.nodes[0].ip.rpartition(".")[0] + ".254" if ray_cluster.network == "namespaces" else "127.0.0.1"
    return f"http://{here}:{server.url.rpartition(':')[2]}"


def test_a_run_that_one_node_stores_in_a_bucket_is_read_back_from_another(
    aws: Path, checkout: Workspace, ray_cluster: RayCluster
) -> None:
    params = checkout.folder / "params.yaml"
    whole = params.read_text()
    secrets = [f"{name.lower()} = {value}" for name, value in CREDENTIALS.items()]
    with s3("0.0.0.0") as server:
        url = endpoint(server, ray_cluster)
        try:
            params.write_text(whole.replace("storage: .runs", f"storage: {server.storage('runs')}"))
            aws.write_text(
                "\n".join(["[default]", "region = us-east-1", "endpoint_url = http://127.0.0.1:1", *secrets])
            )
            lines = job(checkout, ray_cluster, f"env AWS_ENDPOINT_URL={url} python -m pipeline train tiny", code=1)
            (error,) = {line for line in lines if line.startswith("error: ")}
            assert error.startswith("error: node ")
            assert ": s3://bucket/runs: cannot be used there: Could not connect to the endpoint URL: " in error
            aws.write_text(aws.read_text().replace("http://127.0.0.1:1", url))
            # The head trains nothing: what it publishes has been stored by the workers.
            lines = job(checkout, ray_cluster, "python -m pipeline train tiny")
            assert len({line for line in lines if line.endswith(": finished")}) == 3
            lines = job(checkout, ray_cluster, "python -m pipeline train tiny")
            assert "tiny: 3 runs, 3 in the run store, 0 to train" in lines
        finally:
            params.write_text(whole)
    assert len(checkout.weights()) == 3
    assert checkout.run_folders == []
