"""A `dvc repro` that is killed at any moment leaves nothing running and costs not one bit of the result."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.kills import CHANGES, Watched, assert_nobody_went_on, assert_same
from tests.workspace import Workspace, make


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_dvc_is_killed(name: str, undisturbed: Workspace, tmp_path: Path) -> None:
    """The command that DVC started ends with it, and `dvc repro` goes on."""
    workspace = make(tmp_path / "w", CHANGES)
    workspace.repository()
    draw = random.Random(f"dvc {name}")
    for _ in range(2):
        watched = Watched(workspace.start("dvc", "repro", "train@tiny"))
        watched.wait_for_training()
        time.sleep(draw.uniform(0.0, 0.5))
        if name == "SIGINT":  # as a terminal sends it: to the whole foreground group
            os.killpg(watched.process.pid, signal.SIGINT)
        else:
            os.kill(watched.process.pid, getattr(signal, name))
        assert watched.end() != 0
        assert_nobody_went_on(workspace)
    workspace.run("dvc", "repro", "train@tiny")
    assert_same(workspace, undisturbed)
