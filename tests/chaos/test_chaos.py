"""The chaos harness in short, and the proof that it sees what it is there to see."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.store.checkpoints import FORMAT
from resnet.training import Training
from tests.chaos import killing, mutations
from tests.chaos.apart import Part
from tests.chaos.faults import table
from tests.chaos.killing import Mutation
from tests.chaos.log import Log
from tests.chaos.scenarios import SCENARIOS, play

ROOT = Path(__file__).parents[2]
SHARE = 0.1  # of what `make chaos` does
HERE = ("kills", "damage")  # the other scenarios have files of their own


@pytest.mark.parametrize("name", HERE)
def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    log = Log(tmp_path / "log", name, 1)
    play(log, SHARE)
    assert log.wrong == []
    assert sum(log.done.values()) >= SHARE * SCENARIOS[name].number
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {event["scenario"] for event in events} == {name}
    assert sum(event["event"] == "fault" for event in events) == sum(log.done.values())
    assert f"| {SCENARIOS[name].what} |" in table([(log, 1.0)], 1, SHARE)


def test_scenarios_are_played_side_by_side(tmp_path: Path) -> None:
    words = ("damage", "kills", "--share", "0.01", "--log", f"{tmp_path}/log", "--write", f"{tmp_path}/faults.md")
    done = subprocess.run([sys.executable, "-m", "tests.chaos", *words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(line.partition(":")[0] for line in done.stdout.splitlines()) == ["damage", "kills"]
    rows = (tmp_path / "faults.md").read_text().splitlines()[-2:]
    assert [SCENARIOS[name].what in row for name, row in zip(HERE, rows, strict=True)] == [True, True]


@pytest.fixture(scope="module")
def broken() -> dict[str, Log]:
    """By the item that checkpoints lack; up to sixty kills each."""
    parts: dict[str, Part[Mutation]] = {
        part: Part(Log(None, "kills", 2), 60, mutation=mutations.without(part)) for part in mutations.PARTS
    }
    killing.play(list(parts.values()))
    return {name: part.log for name, part in parts.items()}


@pytest.mark.parametrize("part", mutations.PARTS)
def test_an_item_that_a_checkpoint_lacks_is_seen(part: str, broken: dict[str, Log]) -> None:
    """The run itself would go on without a word."""
    assert "the undisturbed runs end" not in broken[part].wrong
    assert broken[part].wrong, part


def test_every_item_of_the_state_is_among_those_left_out() -> None:
    """A field that is added to a run must be added to its checkpoints, and to the mutations."""
    where = {"device", "workers"}  # it trains: no part of its state
    names = {field.name for field in fields(Training)} - where
    assert names - {"sgd"} | {"momentum"} == set(mutations.PARTS)
    assert FORMAT == 2
