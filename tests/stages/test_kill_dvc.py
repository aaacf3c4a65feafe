"""A `dvc repro` that is killed at any moment leaves nothing running and costs not one bit of the result."""

import os
import random
import signal
import time
from pathlib import Path

from tests.kills import CHANGES, Watched, assert_nobody_went_on, assert_same
from tests.workspace import Workspace, make


def test_dvc_is_killed(undisturbed: Workspace, tmp_path: Path) -> None:
    """In a row by each signal: the command that DVC started ends with it, and `dvc repro` goes on."""
    workspace = make(tmp_path / "w", CHANGES)
    workspace.repository()
    draw = random.Random("dvc")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        watched = Watched(workspace.start("dvc", "repro", "train@tiny"))
        watched.wait_for_training()
        time.sleep(draw.uniform(0.0, 0.5))
        if number == signal.SIGINT:  # as a terminal sends it: to the whole foreground group
            os.killpg(watched.process.pid, number)
        else:
            os.kill(watched.process.pid, number)
        assert watched.end() != 0
        assert_nobody_went_on(workspace)
    workspace.run("dvc", "repro", "train@tiny")
    assert_same(workspace, undisturbed)
