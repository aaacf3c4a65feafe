"""A run that takes its time until it is told to hurry: whatever is done to it, it is not over before."""

import time
from dataclasses import replace
from pathlib import Path

from tests.kills import CHANGES, TRAIN, UNDER_WAY, Attempt, Watched, attempts
from tests.workspace import PATIENCE_S, Workspace, make

RUN = "plain-18-seed0"
ONE = {
    **CHANGES,
    "tiny.networks": {"plain-18": None},
    "tiny.train.iterations": 400,
    "tiny.train.lr_drops": [300],
    "tiny.resources.checkpoint_s": 1000,  # nothing is written but by who leaves
}
LOOP = "    for _ in train(run, recipe, job.spec.seed, splits.train, splits.val):\n"
SLOWLY = LOOP + "        time.sleep((job.slot.folder.parent / 'slowly').exists())\n"


def undisturbed(folder: Path, **resources: float) -> Workspace:
    """One run, trained to its end as fast as it goes."""
    workspace = make(folder, ONE | {f"tiny.resources.{name}": value for name, value in resources.items()})
    workspace.run(*TRAIN)
    return workspace


def slow(like: Workspace, folder: Path, **variables: str) -> Workspace:
    """The same before it was trained, with a second between two iterations."""
    workspace = replace(like.untrained(folder), variables=variables)
    worker = folder / "pipeline" / "training" / "worker.py"
    text = worker.read_text()
    assert LOOP in text
    worker.write_text(text.replace(LOOP, SLOWLY))
    (folder / ".runs").mkdir()
    (folder / ".runs" / "slowly").touch()
    return workspace


def under_way(workspace: Workspace, watched: Watched, number: int) -> Attempt:
    """The attempt of that number, from 1, as soon as it trains."""
    deadline = time.monotonic() + PATIENCE_S
    while (
        sum(line.startswith(RUN) and any(mark in line for mark in UNDER_WAY) for line in list(watched.lines)) < number
    ):
        assert time.monotonic() < deadline, watched.lines
        assert watched.process.poll() is None, "".join(watched.lines)
        time.sleep(0.1)
    (attempt,) = attempts(workspace)
    assert attempt.number == number
    return attempt


def assert_same_run(workspace: Workspace, whole: Workspace) -> None:
    assert set(whole.weights()) == {RUN}
    assert workspace.weights() == whole.weights()
    assert workspace.histories() == whole.histories()


def hurry(workspace: Workspace) -> None:
    (workspace.folder / ".runs" / "slowly").unlink()
