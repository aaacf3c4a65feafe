"""A worker that stands still is found and killed; one that is asked to end leaves with a checkpoint first."""

import re
import signal
from pathlib import Path

from tests.kills import TRAIN, Watched
from tests.slow_run import RUN, assert_same_run, hurry, slow, under_way, undisturbed

PATIENCE = "\nHUNG_S = 15.0"
SAID = (
    "begins",
    r"leaves its worker, which is asked to end; goes on from iteration (\d+)",
    r"goes on from iteration (\d+)",
    r"lost its worker \(Hung: process \d+ gave no sign of life for \d+ s\); goes on from its checkpoint, 0 retries .*",
    r"goes on from iteration (\d+)",
    "finished after 400 iterations .*",
)


def test_who_stands_still_is_lost_and_who_is_asked_to_end_is_not(tmp_path: Path) -> None:
    """A run that may be lost once gets SIGTERM and then SIGSTOP, and ends in the same bits."""
    whole = undisturbed(tmp_path / "whole", retries=1)
    workspace = slow(whole, tmp_path / "w")
    watch = workspace.folder / "pipeline" / "cluster" / "watch.py"
    assert PATIENCE in watch.read_text()
    watch.write_text(watch.read_text().replace(PATIENCE, "\nHUNG_S = 3.0"))  # so that the test takes less time
    watched = Watched(workspace.start(*TRAIN))
    under_way(workspace, watched, 1).signal(signal.SIGTERM)
    under_way(workspace, watched, 2).signal(signal.SIGSTOP)
    under_way(workspace, watched, 3)
    hurry(workspace)
    assert watched.end() == 0, "".join(watched.lines)
    said = [line.removeprefix(f"{RUN}: ").rstrip() for line in watched.lines if line.startswith(f"{RUN}: ")]
    assert len(said) == len(SAID), said
    found = [re.fullmatch(pattern, line) for pattern, line in zip(SAID, said, strict=True)]
    assert all(found), said
    iterations = {number for match in found if match for number in match.groups()}
    assert len(iterations) == 1  # that of its checkpoint, for there was no other
    assert iterations.pop() not in {"0", "400"}
    assert_same_run(workspace, whole)
