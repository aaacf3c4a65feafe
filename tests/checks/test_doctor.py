"""`python -m pipeline.doctor` as a whole, and what it says of the checkout."""

import fcntl
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.checks import project
from tests.workspace import ROOT, Workspace, make

DOCTOR = (sys.executable, "-m", "pipeline.doctor")
LOOKED_AT = {
    *("git", "DVC's lock", "DVC", "params.yaml", "versions", "MLflow", "space for storage", "space for data"),
    *(
        "authentication",
        "Ray",
        "versions on",
        "authentication on",
        "GPUs on",
        "bf16 on",
        "shared memory on",
        "resources of tiny",
    ),
    *("temporary files on", "clock on", "storage on"),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make(tmp_path_factory.mktemp("doctor") / "w")
    shutil.copy(ROOT / "requirements.lock", workspace.folder)
    workspace.repository()
    workspace.run("git", "add", "--all")
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    workspace.run("git", *who, "commit", "--quiet", "--message", "all")
    return workspace


def topics(lines: list[str]) -> set[str]:
    """What the lines are about, without the names of nodes."""
    found = (line.partition(" ")[2].partition(": ")[0] for line in lines)
    return {f"{what.partition(' on ')[0]} on" if " on " in what else what for what in found}


def test_a_healthy_checkout_with_a_local_ray(checkout: Workspace) -> None:
    before = sorted(path.name for path in checkout.folder.iterdir())
    lines = checkout.run(*DOCTOR).splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert topics(lines) == LOOKED_AT
    assert "ok DVC: dvc repro would run prepare@tiny, train@tiny, evaluate@tiny, report@tiny" in lines
    assert "ok params.yaml: tiny, 3 runs" in lines
    assert any(line.startswith("ok git: ") and line.endswith(", clean") for line in lines)
    after = sorted(path.name for path in checkout.folder.iterdir())
    assert sorted({*before, ".runs"}) == after
    assert list((checkout.folder / ".runs").iterdir()) == []


def test_without_cluster_and_server_the_other_checks_go_on(checkout: Workspace) -> None:
    with socket.socket() as nobody:  # bound, but it does not listen
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        away = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "canary-token"}
        away |= {"MLFLOW_TRACKING_URI": f"http://me:canary-word@{address}"}
        output = Workspace(checkout.folder, away).run(*DOCTOR, "tiny", "large", code=3)
    *lines, last = output.splitlines()
    mend = [line for line in lines if line.startswith("mend ")]
    assert last == f"{len(mend)} to mend"
    assert [line.split(":")[0] for line in mend] == ["mend params.yaml", "mend MLflow", "mend Ray"]
    assert "no experiment 'large'" in mend[0]
    assert f"RAY_ADDRESS={address}: no Ray cluster (Connection refused)" in mend[2]
    assert {"git", "DVC", "versions", "space for storage", "authentication"} <= topics(lines)
    assert "canary" not in output


def test_no_git_and_no_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert str(project.git(tmp_path)).startswith("mend git: no checkout with a commit; git clone")
    line = str(project.dvc_status(tmp_path))
    assert line.startswith("mend DVC: you are not inside of a DVC repository")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "mend params.yaml: params.yaml: not there; run from the top"),
        ("experiments: [some]\n", "mend params.yaml: params.yaml: experiments: no section 'some'"),
        ("experiments: []\n", "mend params.yaml: no experiment is listed; name one"),
        ("experiments: [\n", "mend params.yaml: params.yaml line "),
    ],
)
def test_params_that_are_refused(text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("params.yaml").write_text(text)
    (line,), experiments = project.params([])
    assert str(line).startswith(words)
    assert experiments == []


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no dvc."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


def used_by(root: Path, pid: int) -> str:
    """DVC's own record of who uses what, and what the doctor says of it."""
    (root / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    entry = {"pid": pid, "cmd": "dvc repro"}
    content = {"write": {f"{root}/runs/tiny": entry}, "read": {f"{root}/data/tiny": [entry]}}
    (root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(content))
    return str(project.dvc_lock(root))


def test_dvcs_lock(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    assert str(project.dvc_lock(tmp_path)) == "ok DVC's lock: free"
    words = [sys.executable, "-c", "input(0)", "dvc", "repro"]
    at_work = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert at_work.stdout is not None
    try:
        assert at_work.stdout.read(1) == b"0"  # it is up: before, the kernel may show no command line yet
        line = used_by(tmp_path, at_work.pid)
        assert line == f"mend DVC's lock: dvc repro (process {at_work.pid}) is at work; wait for it, or end it"
    finally:
        at_work.kill()
        at_work.communicate()
    assert used_by(tmp_path, at_work.pid) == "ok DVC's lock: free"  # a dead one's entry is DVC's to clear
    assert f"names process {sleeper.pid}, which is no dvc of this machine; rm " in used_by(tmp_path, sleeper.pid)
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text("[half")
    assert "rwlock: damaged; rm " in str(project.dvc_lock(tmp_path))
    with (tmp_path / ".dvc" / "tmp" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert str(project.dvc_lock(tmp_path)) == "mend DVC's lock: held by another dvc; wait for it, or end it"
