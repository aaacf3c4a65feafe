"""Workers that are killed at any moment cost not one bit of the result."""

import random
import signal
import time
from pathlib import Path

from tests.kills import CHANGES, TRAIN, Watched, assert_same, workers
from tests.workspace import Workspace, make


def test_workers_are_killed(undisturbed: Workspace, tmp_path: Path) -> None:
    """Nine workers in one stage, by all three signals; each loss is said, and the stage ends as if nothing had been."""
    workspace = make(tmp_path / "w", CHANGES)
    draw = random.Random("workers")
    watched = Watched(workspace.start(*TRAIN))
    killed: set[int] = set()
    while len(killed) < 9:
        assert watched.process.poll() is None, watched.lines
        time.sleep(draw.uniform(0.0, 0.3))
        alive = [worker for worker in workers(workspace) if worker.pid not in killed]
        if alive:
            victim = draw.choice(alive)
            victim.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[len(killed) % 3])
            killed.add(victim.pid)
    assert watched.end() == 0, watched.lines
    assert sum("lost its worker" in line for line in watched.lines) >= 6, watched.lines
    assert_same(workspace, undisturbed)
