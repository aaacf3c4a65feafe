"""`make ui`, which depends on the environment, with a stand-in for what it starts."""

import shutil
from pathlib import Path

import pytest

from tests.factories.workspace import ROOT, Workspace


@pytest.mark.parametrize(
    ("uri", "words"),
    [("", "mlflow server --backend-store-uri sqlite:///mlflow.db"), ("http://me:word@host:5000", "http://host:5000")],
)
def test_make_ui_starts_a_server_for_a_database_only(uri: str, words: str, tmp_path: Path) -> None:
    """With a stand-in for `mlflow`, which prints how it is called."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "mlflow").write_text('#!/bin/sh\necho mlflow "$@"\n')
    (tmp_path / ".venv" / "bin" / "mlflow").chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    workspace = Workspace(tmp_path, {"MLFLOW_TRACKING_URI": uri} if uri else {})
    output = workspace.run("make", "--no-print-directory", "ui")
    assert words in output
    assert ("server" in output) == (uri == "")
    assert "word" not in output
