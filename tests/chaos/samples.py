"""What a sample of a scenario must show."""

import json
import math
from pathlib import Path

from tests.chaos.harness import SCENARIOS, page, play
from tests.chaos.mutations import DESCRIPTIONS, MUTATIONS

FRACTION = 0.1  # of what `make chaos` does


def assert_nothing_is_lost(name: str, folder: Path) -> None:
    log = play(name, count=math.ceil(FRACTION * SCENARIOS[name].count), seed=1, path=folder / "log")
    events = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert log.wrong == [], [event for event in events if event.get("holds") is False]
    assert sum(event["event"] == "fault" for event in events) == log.done.total()
    assert SCENARIOS[name].what in page([log], 1, FRACTION, DESCRIPTIONS)


def assert_seen(name: str) -> None:
    """The scenario fails when a protection is removed from the code, and for that reason."""
    scenario, mutation, count, seed = MUTATIONS[name]
    log = play(scenario, count=count, seed=seed, mutation=mutation)
    assert not [wrong for wrong in log.wrong if "undisturbed runs end" in wrong or "comes to its end" in wrong]
    assert log.wrong, name
