"""The command `plan` as people use it: before and after the data are prepared; it changes nothing."""

import re
from pathlib import Path

from tests.factories.data import snapshot
from tests.factories.workspace import make


def test_plan_measures_random_images_then_the_prepared_ones_and_changes_nothing(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w", prepared=False)
    before = snapshot(workspace.folder)
    output = workspace.stage("plan")
    assert "data/tiny is not prepared" in output
    assert re.search(r"^plain-18 +2 +0 +0 +0\.\d{4} +\d\.\d\d$", output, re.MULTILINE)
    assert snapshot(workspace.folder) == before
    workspace.stage("prepare")
    output = workspace.stage("plan")
    assert "not prepared" not in output
    total = (
        r"^tiny: 3 runs to train on this machine, \d+ CPUs, \d+ GPUs, \d+ at a time: about \d+ minutes, 0\.\d\d core-h"
    )
    assert re.search(total, output, re.MULTILINE)
