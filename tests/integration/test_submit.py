"""Jobs on a real head with a dashboard and a token, in a project whose stages only print and write a file."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import RayCluster, cluster
from tests.factories.params import params, write
from tests.factories.workspace import ROOT, Workspace

SUBMIT = (sys.executable, "-m", "pipeline", "submit")
STAGE = "import os, sys, time; print('works in', os.getcwd(), flush=True); {}; open(sys.argv[1], 'w').write('made')"
STAGES = """stages:
  train:
    foreach: [tiny]
    do: {cmd: python stage.py train, deps: [stage.py], outs: [train: {cache: false}]}
  report:
    foreach: [tiny]
    do: {cmd: python stage.py report, deps: [stage.py], outs: [report: {cache: false}]}
"""
UPLOADS_GIT = {"RAY_RUNTIME_ENV_IGNORE_GITIGNORE": "1", "RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES": ".venv"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with cluster(tmp_path_factory.mktemp("ray"), workers=0) as made:
        yield made


def project(folder: Path, head: RayCluster, work: str = "pass", storage: str = ".runs") -> Workspace:
    """A git and DVC checkout with the stages train@tiny and report@tiny."""
    folder.mkdir()
    workspace = Workspace(folder, {**head.environment, "RAY_API_SERVER_ADDRESS": head.dashboard})
    workspace.variables["PYTHONPATH"] = str(ROOT)
    write(folder / "params.yaml", params({"storage": storage}))
    (folder / "stage.py").write_text(STAGE.format(work))
    (folder / "dvc.yaml").write_text(STAGES)
    workspace.repository()
    commit(workspace)
    return workspace


def commit(workspace: Workspace) -> None:
    workspace.run("git", "add", "--all")
    workspace.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", "all")


def wait_for(process: "subprocess.Popen[str]", text: str) -> str:
    """Returns the first line of output with the text in it."""
    assert process.stdout is not None
    before = []
    while line := process.stdout.readline():
        if text in line:
            return line
        before.append(line)
    raise AssertionError(f"no {text!r} in {before}")


def rest(process: "subprocess.Popen[str]", code: int) -> str:
    """Returns the output that has not been read; the process must end with `code`."""
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.wait(timeout=60) == code, output
    return output


def test_a_job_in_a_shared_checkout(head: RayCluster, tmp_path: Path) -> None:
    """The whole log is shown once, and the outputs are in the checkout."""
    workspace = project(tmp_path / "w", head)
    first, *log, last = workspace.run(*SUBMIT, "tiny").splitlines()
    name = first.partition(":")[0]
    assert first.startswith(f"{name}: submitted to {head.dashboard}, commit ")
    assert log.count(f"works in {workspace.folder}") == 1
    assert last == f"{name}: succeeded, exit code 0"
    assert (workspace.folder / "report").read_text() == "made"
    assert "up to date" in workspace.run("dvc", "status", "report@tiny")
    assert workspace.run(*SUBMIT, "tiny").startswith(f"{name}-2: submitted")  # Ray takes a name once


def test_an_uploaded_job_works_in_a_copy_with_the_data(head: RayCluster, tmp_path: Path) -> None:
    look = "print(sorted(os.listdir()), os.listdir('data/tiny'), os.environ['DEEP_RESIDUAL_REVISION'])"
    workspace = project(tmp_path / "w", head, look, storage=str(tmp_path / "store"))
    (workspace.folder / "data" / "tiny").mkdir(parents=True)
    (workspace.folder / "data" / "tiny" / "train.npy").write_bytes(b"images")
    (workspace.folder / "secret").write_text("untracked")
    (workspace.folder / "stage.py").open("a").write("# changed\n")
    output = workspace.run(*SUBMIT, "tiny", "--working-dir")
    revision = workspace.run("git", "rev-parse", "HEAD").strip() + " (changed since)"
    assert f" ['train.npy'] {revision}\n" in output
    assert "'params.yaml'" in output
    assert "secret" not in output
    assert f"the runs are in {tmp_path / 'store'}: `dvc repro report@tiny` here evaluates them" in output
    assert not (workspace.folder / "train").exists()


def test_rays_own_command_uploads_a_checkout_in_which_dvc_works(head: RayCluster, tmp_path: Path) -> None:
    """The job can see that it runs in an upload, and the refusal of a relative run store depends on that."""
    look = "import ray; ray.init(logging_level=40); print('upload', shared_storage.is_upload())"
    workspace = project(tmp_path / "w", head, f"from pipeline.cluster import shared_storage; {look}")
    for name in ("pipeline", "resnet"):
        shutil.copytree(ROOT / name, workspace.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".rayignore", workspace.folder)
    workspace.variables.update(UPLOADS_GIT)
    output = workspace.run("ray", "job", "submit", "--working-dir", ".", "--", "dvc", "repro", "train@tiny")
    assert f"works in {workspace.folder}" not in output
    assert "upload True\n" in output
    assert not (workspace.folder / "train").exists()


def test_joined_left_and_stopped(head: RayCluster, tmp_path: Path) -> None:
    """Ctrl-C leaves the job; other code is refused while it runs; --stop ends it, and the follower with 143."""
    workspace = project(tmp_path / "w", head, "time.sleep(600)")
    first = workspace.start(*SUBMIT, "tiny")
    wait_for(first, "works in")
    first.send_signal(2)
    assert "keeps running; the same command follows it" in rest(first, 130)
    second = workspace.start(*SUBMIT, "tiny")
    assert "runs already; joins it" in wait_for(second, "joins it")
    (workspace.folder / "stage.py").open("a").write("# changed\n")
    assert "with other code or parameters; wait for it, or stop it" in workspace.run(*SUBMIT, "tiny", code=2)
    assert "stopped; finished runs and checkpoints are kept" in workspace.run(*SUBMIT, "tiny", "--stop")
    assert ": stopped, exit code 143\n" in rest(second, 143)
    assert workspace.run(*SUBMIT, "tiny", "--stop") == "no such job runs\n"


def test_a_failed_job_gives_its_exit_code(head: RayCluster, tmp_path: Path) -> None:
    workspace = project(tmp_path / "w", head, "sys.exit('broken')")
    output = workspace.run(*SUBMIT, "tiny", code=255)  # DVC's own for a stage that failed
    assert "broken\n" in output
    assert output.endswith(": failed, exit code 255\n")


def test_refusals_are_one_line(head: RayCluster, tmp_path: Path) -> None:
    workspace = project(tmp_path / "w", head)

    def error(*words: str, code: int) -> str:
        (line,) = workspace.run(*SUBMIT, *words, code=code).splitlines()
        return line

    assert "http://127.0.0.1:1: no Ray dashboard (" in error("tiny", "--address", "http://127.0.0.1:1", code=3)
    (tmp_path / "wrong").write_text("0" * 64)
    workspace.variables["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "wrong")
    assert "the cluster refused the token; set RAY_AUTH_MODE=token" in error("tiny", code=3)


def test_a_lost_head_ends_the_follower(head: RayCluster, tmp_path: Path) -> None:
    """The last test, because it kills the head."""
    workspace = project(tmp_path / "w", head, "time.sleep(600)")
    follower = workspace.start(*SUBMIT, "tiny")
    wait_for(follower, "works in")
    head.nodes[0].kill()
    began = time.monotonic()
    assert "the head of the cluster does not answer any more" in rest(follower, 6)
    assert time.monotonic() - began < 60
