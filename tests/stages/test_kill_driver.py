"""A driver that is killed at any moment costs not one bit of the result; nor do two drivers at once."""

import os
import random
import signal
import time
from pathlib import Path

from tests.kills import CHANGES, TRAIN, UNDER_WAY, Watched, assert_nobody_went_on, assert_same
from tests.workspace import Workspace, make


def test_driver_is_killed(undisturbed: Workspace, tmp_path: Path) -> None:
    """In a row by each signal; then the same command goes on to the same bits, given twice at the same moment.

    Each run is trained by one of the two drivers, and both end well.
    """
    workspace = make(tmp_path / "w", CHANGES)
    draw = random.Random("driver")
    for number, code in {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}.items():
        watched = Watched(workspace.start(*TRAIN))
        watched.wait_for_training()
        time.sleep(draw.uniform(0.0, 0.5))
        os.kill(watched.process.pid, number)
        assert watched.end() == code, watched.lines
        assert_nobody_went_on(workspace)
    both = [Watched(workspace.start(*TRAIN)) for _ in range(2)]
    assert [watched.end() for watched in both] == [0, 0], [watched.lines for watched in both]
    begun = [line for watched in both for line in watched.lines if any(mark in line for mark in UNDER_WAY)]
    assert len(begun) == 2, begun
    assert_same(workspace, undisturbed)
