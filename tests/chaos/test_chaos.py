"""A sample of every scenario, and the proof that the harness sees what it must see."""

import json
import math
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.run_store.checkpoint import KEPT
from resnet.training import Training
from tests.chaos.harness import SCENARIOS, Log, page, play
from tests.chaos.mutations import DESCRIPTIONS, MUTATIONS, PARTS
from tests.cluster.network import allowed
from tests.factories.workspace import ROOT

pytestmark = pytest.mark.slow
FRACTION = 0.1  # of what `make chaos` does


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    if name == "partitions" and not allowed():
        pytest.skip("partitions need root and network namespaces")
    log = play(name, count=math.ceil(FRACTION * SCENARIOS[name].count), seed=1, path=tmp_path / "log")
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert log.wrong == [], [event for event in events if event.get("holds") is False]
    assert sum(event["event"] == "fault" for event in events) == log.done.total()
    assert SCENARIOS[name].what in page([log], 1, FRACTION, DESCRIPTIONS)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_protection_that_is_removed_is_seen(name: str) -> None:
    scenario, mutation, count, seed = MUTATIONS[name]
    if scenario == "partitions" and not allowed():
        pytest.skip("partitions need root and network namespaces")
    log = play(scenario, count=count, seed=seed, mutation=mutation)
    assert not [wrong for wrong in log.wrong if "undisturbed runs end" in wrong or "comes to its end" in wrong]
    assert log.wrong, name


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
