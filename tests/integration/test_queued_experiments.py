"""Experiments that DVC runs in a copy of the checkout, which it deletes: `dvc exp run --queue`."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.factories.workspace import make

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")


@pytest.mark.slow
def test_a_queued_experiment_leaves_its_runs_in_the_run_store(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w", {"tiny.seeds": [0]}, prepared=False)
    workspace.repository()
    workspace.run("git", "add", "--all")
    workspace.run(*GIT, "commit", "--quiet", "--message", "all")
    workspace.run("dvc", "exp", "run", "--queue", "--name", "slower", "-S", "tiny.train.lr=0.01", "train@tiny")
    assert workspace.run_folders == []
    workspace.run("dvc", "exp", "run", "--run-all")
    assert len(workspace.finished()) == 2
    assert list((workspace.folder / ".dvc/tmp/exps").glob("**/.runs")) == []
    query = "SELECT value FROM params WHERE key = 'lr'"
    with contextlib.closing(sqlite3.connect(workspace.folder / "mlflow.db")) as database:
        assert database.execute(query).fetchall() == [("0.01",)] * 2
    workspace.run("dvc", "exp", "apply", "slower")
    assert "2 runs, 2 in the run store, 0 to train" in workspace.run("dvc", "repro", "train@tiny")
