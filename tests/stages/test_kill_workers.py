"""Workers that are killed at any moment cost not one bit of the result."""

import random
import signal
import time
from pathlib import Path

from tests.kills import CHANGES, TRAIN, Attempt, Watched, assert_same, attempts
from tests.workspace import Workspace, make

KILLS = 9
LOOKS = 4  # at an attempt, at most, before it is killed; some 0.1 s lie between two
DEAF = 100  # looks after which an attempt that survived its signal is sent another


def test_workers_are_killed(undisturbed: Workspace, tmp_path: Path) -> None:
    """Nine attempts, by SIGKILL and SIGTERM; each is said, and the stage ends as if nothing had been.

    Two of three are killed after a checkpoint of their own, the others at once. Each is sent a SIGINT before, as by
    a Ctrl-C in a terminal, which is the driver's affair: workers train on.
    """
    workspace = make(tmp_path / "w", CHANGES)
    draw = random.Random("workers")
    watched = Watched(workspace.start(*TRAIN))
    left: dict[Attempt, int] = {}  # looks before it is killed
    began: dict[Attempt, str] = {}  # the checkpoint that was there before it
    kills = 0
    while kills < KILLS:
        assert watched.process.poll() is None, watched.lines
        time.sleep(0.1)
        for attempt in attempts(workspace):
            if attempt not in left:
                left[attempt] = draw.randint(1, LOOKS)
                began[attempt] = attempt.checkpoint if draw.random() < 2 / 3 else "any"
            left[attempt] -= attempt.checkpoint != began[attempt]
            if left[attempt] in (0, -DEAF):
                attempt.signal(signal.SIGTERM if kills % 2 else signal.SIGKILL)
                kills += left[attempt] == 0
            elif left[attempt] > 0:
                attempt.signal(signal.SIGINT)
    assert watched.end() == 0, watched.lines
    ended = sum("lost its worker" in line or "leaves its worker" in line for line in watched.lines)
    assert ended >= KILLS, watched.lines
    assert any(": goes on" in line for line in watched.lines), watched.lines
    assert_same(workspace, undisturbed)
