"""The chaos harness on a cluster in short, and the proof that it sees what it is there to see."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ground import Ground, ground
from tests.chaos.heads import head_kills
from tests.chaos.log import Log
from tests.chaos.mutations import fences_nobody
from tests.chaos.nodes import node_kills
from tests.chaos.partitions import NO_NAMESPACES, cuts
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stops import standstills

SHARE = 0.1  # of what `make chaos` does
PLAYED = {"nodes": node_kills, "stops": standstills, "partitions": cuts, "heads": head_kills}


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


def test_all_are_played() -> None:
    assert set(PLAYED) == {name for name, scenario in SCENARIOS.items() if scenario.cluster}


@pytest.mark.parametrize("name", PLAYED)
def test_nothing_is_lost(name: str, place: Ground, tmp_path: Path) -> None:
    if name == "partitions" and place.cluster.links is None:
        pytest.skip(NO_NAMESPACES)
    number, log = math.ceil(SHARE * SCENARIOS[name].number), Log(tmp_path / "log", name, 1)
    PLAYED[name](number, 1, log, place)
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert log.wrong == [], events
    assert sum(event["event"] == "fault" for event in events) == sum(log.done.values()) >= number


def test_a_fence_that_is_open_is_seen(place: Ground) -> None:
    if place.cluster.links is None:
        pytest.skip(NO_NAMESPACES)
    log = Log(None, "partitions", 2)
    cuts(10, 2, log, place, fences_nobody)  # ends with the first that is seen
    assert "no attempt writes on that was overtaken" in log.wrong
