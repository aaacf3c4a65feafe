"""The stage `evaluate` on a local Ray: runs, ensembles, and nothing measured twice."""

import json
from pathlib import Path

import pytest

from pipeline.records import Ensembles, RunResult, read
from tests.factories.workspace import make


@pytest.mark.slow
def test_runs_and_ensembles_are_measured_once(tmp_path: Path) -> None:
    rows = {"plain-18": None, "resnet-18": None}
    workspace = make(tmp_path / "w", {"tiny.networks": rows, "tiny.evaluation": {"ensemble": list(rows)}})
    workspace.stage("train")
    assert "4 runs, 0 evaluated before, 4 to evaluate" in workspace.stage("evaluate")
    results = workspace.folder / "results/tiny"
    whole = read(Ensembles, results / "ensemble.json", "nothing")
    assert [list(e.members) for e in whole.ensembles] == [[f"{row}-seed{seed}" for row in rows] for seed in (0, 1)]
    assert [list(e.protocols) for e in whole.ensembles] == [["single view"]] * 2
    runs = {f"{row}-seed{seed}" for row in rows for seed in (0, 1)}
    assert {read(RunResult, results / f"{run}.json", "nothing").run for run in runs} == runs
    before = {path.name: json.loads(path.read_text()) for path in results.iterdir()}
    output = workspace.stage("evaluate")
    assert "4 runs, 4 evaluated before, 0 to evaluate" in output
    assert "begins" not in output
    assert {path.name: json.loads(path.read_text()) for path in results.iterdir()} == before
    workspace.stage("report")
