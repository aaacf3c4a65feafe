"""A sample of every scenario on one machine, and what the harness must know of the code."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.run_store.checkpoint import KEPT
from resnet.training import Training
from tests.chaos.harness import SCENARIOS, Log
from tests.chaos.mutations import DESCRIPTIONS, PARTS
from tests.chaos.samples import assert_nothing_is_lost
from tests.factories.workspace import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if not scenario.cluster])
def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    assert_nothing_is_lost(name, tmp_path)


def test_every_item_of_the_state_is_among_those_left_out() -> None:
    """A field that is added to a run must be added to its checkpoints, and to the mutations."""
    names = {field.name for field in fields(Training)} - {"device", "workers"}  # these are no part of its state
    assert names - {"optimizer"} | {"momentum"} == set(PARTS)
    assert KEPT == 2  # what the scenarios were written for


def test_the_command_plays_several_and_writes_the_page(tmp_path: Path) -> None:
    words = ("truncations", "kills", "--fraction", "0.01", "--log", f"{tmp_path}/log", "--write", f"{tmp_path}/a.md")
    done = subprocess.run([sys.executable, "-m", "tests.chaos", *words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(line.partition(":")[0] for line in done.stdout.splitlines()) == ["kills", "truncations"]
    text = (tmp_path / "a.md").read_text()
    assert [SCENARIOS[name].what in text for name in ("kills", "truncations", "nodes")] == [True, True, False]
    assert all(what in text for _, what in DESCRIPTIONS.values())
    assert Log(None, "kills", 0).wrong == []
