"""What the doctor says about versions, a node and tokens, and how to fix it."""

import os
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.cluster.shared_storage import Node

CPU_NODE = Node("b2", "10.0.0.3", 8.0, 0.0)
CANARY = "canary-7d1f02-passphrase"
LOCK = Path(__file__).parents[2] / "requirements.lock"


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
