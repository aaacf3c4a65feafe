"""A registered experiment from its registration to its report, on one local Ray."""

import json
from pathlib import Path

import pytest

from tests.factories.workspace import make

ROWS = {
    f"{family}-18-{n}": {"network": f"{family}-18", "architecture": {"blocks": [n]}}
    for family in ("plain", "resnet")
    for n in (1, 2)
}
PLANNED = {
    "tiny.networks": ROWS,
    "tiny.seeds": [100, 101],
    "tiny.trial": {"looks": [1, 2]},
    "tiny.pilot": {"seeds": [1000], "lr": [0.01, 0.05]},
}


@pytest.mark.slow
def test_register_pilot_train_until_decided_evaluate_report(tmp_path: Path) -> None:
    """Then an edited seed list makes it exploratory, and registering again is refused."""
    workspace = make(tmp_path / "w", PLANNED)
    workspace.stage("register")
    assert "8 runs, 0 in the run store, 8 to train" in workspace.stage("pilot")
    output = workspace.stage("train", "--until-decided")
    assert "look 1 of 2, 1 seeds a network: plain-ladder indicative" in output
    assert "look 2 of 2, 2 seeds a network: plain-ladder" in output
    assert len(workspace.weights()) == 8
    assert "8 runs, 8 in the run store, 0 to train" in workspace.stage("train")
    path = workspace.folder / "registrations/tiny.json"
    written = json.loads(path.read_bytes())
    assert [look["seeds"] for look in written["log"]] == [1, 2]
    assert written["rates"].keys() == ROWS.keys()
    workspace.stage("evaluate")
    workspace.stage("report")
    report = workspace.folder / "reports/tiny/report.json"
    assert json.loads(report.read_bytes())["status"] == "registered"

    workspace.configure({**PLANNED, "tiny.seeds": [101, 100]})
    workspace.stage("report")
    found = json.loads(report.read_bytes())
    assert (found["status"], "the seeds were changed" in found["status_reason"]) == ("exploratory", True)
    path.unlink()
    assert "is in the run store already" in workspace.stage("register", code=2)
