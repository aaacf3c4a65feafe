"""Full disks in short, and the proof that the harness sees what is written in place."""

from collections.abc import Callable

import pytest

from tests.chaos import broken
from tests.chaos.apart import Part
from tests.chaos.disk_full import KINDS, STORE, Broken, play
from tests.chaos.log import Log
from tests.chaos.scenarios import SCENARIOS

SHARE = 0.1
BROKEN: dict[str, tuple[Callable[[], None], str, str]] = {  # how, where, what the harness says of it
    "files": (broken.files_in_place, STORE, "every checkpoint is whole"),
    "folders": (broken.folders_in_place, "data", "the folder is as it was before"),
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Log]:
    """Of all parts, which share a disk and a project."""
    path = tmp_path_factory.mktemp("chaos") / "log"
    whole: Part[Broken] = Part(Log(path, "disk-full", 1), round(SHARE * SCENARIOS["disk-full"].number), KINDS)
    parts = {name: Part(Log(None, name, 2), 4, (kind,), how) for name, (how, kind, _) in BROKEN.items()}
    play([whole, *parts.values()])
    return {"whole": whole.log, **{name: part.log for name, part in parts.items()}}


def test_the_last_good_state_stays(logs: dict[str, Log]) -> None:
    assert logs["whole"].wrong == []
    assert logs["whole"].done.total() >= SHARE * SCENARIOS["disk-full"].number


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_written_in_place_is_seen(name: str, logs: dict[str, Log]) -> None:
    assert any(BROKEN[name][2] in wrong for wrong in logs[name].wrong)
