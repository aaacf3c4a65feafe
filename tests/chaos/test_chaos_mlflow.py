"""MLflow outages in short, and the proof that the harness sees a tracker that waits, doubles or loses."""

import pytest

from tests.chaos import broken
from tests.chaos.apart import Part
from tests.chaos.log import Log
from tests.chaos.mlflow_outages import Mutation, play
from tests.chaos.outages import KINDS
from tests.chaos.scenarios import SCENARIOS

SHARE = 0.1
BROKEN: dict[str, tuple[Mutation, int, str, str]] = {  # how, seed, outage, what the harness says of it
    "asking": (broken.asking, 4, "refused", "no call waits for the network"),
    "locked": (broken.locked, 49, "stopped", "no step is held up by more than a second"),
    "doubling": (broken.doubling, 40, "500s", "no row is doubled"),
    "forgetting": (broken.forgetting, 43, "500s", "no row is lost"),
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Log]:
    """Of all parts, which share a server."""
    path = tmp_path_factory.mktemp("chaos") / "log"
    whole: Part[Mutation] = Part(Log(path, "mlflow", 7), round(SHARE * SCENARIOS["mlflow"].number), KINDS)
    parts = {name: Part(Log(None, name, seed), 4, (kind,), how) for name, (how, seed, kind, _) in BROKEN.items()}
    play([whole, *parts.values()])
    return {"whole": whole.log, **{name: part.log for name, part in parts.items()}}


def test_no_step_waits_and_no_row_is_lost_or_doubled(logs: dict[str, Log]) -> None:
    assert logs["whole"].wrong == []
    assert logs["whole"].done.total() >= SHARE * SCENARIOS["mlflow"].number


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_tracker_is_seen(name: str, logs: dict[str, Log]) -> None:
    assert BROKEN[name][3] in logs[name].wrong
