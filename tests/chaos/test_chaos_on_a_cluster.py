"""A sample of every scenario on several nodes. A file of its own: xdist gives one process all tests of a file."""

from pathlib import Path

import pytest

from tests.chaos.harness import SCENARIOS
from tests.chaos.mutations import MUTATIONS
from tests.chaos.samples import assert_nothing_is_lost, assert_seen
from tests.cluster.network import allowed

pytestmark = pytest.mark.slow
PARTED = pytest.mark.skipif(not allowed(), reason="partitions need root and network namespaces")


def marked(name: str, scenario: str) -> object:
    return pytest.param(name, marks=PARTED) if scenario == "partitions" else name


@pytest.mark.parametrize("name", [marked(name, name) for name, scenario in SCENARIOS.items() if scenario.cluster])
def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    assert_nothing_is_lost(name, tmp_path)


@pytest.mark.parametrize(
    "name", [marked(name, scenario) for name, (scenario, *_) in MUTATIONS.items() if SCENARIOS[scenario].cluster]
)
def test_a_protection_that_is_removed_is_seen(name: str) -> None:
    assert_seen(name)
