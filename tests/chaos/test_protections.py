"""The proof that the harness sees what it must see: a scenario fails when a protection is removed from the code."""

import pytest

from tests.chaos.harness import SCENARIOS
from tests.chaos.mutations import MUTATIONS
from tests.chaos.samples import assert_seen

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name", [name for name, (scenario, *_) in MUTATIONS.items() if not SCENARIOS[scenario].cluster]
)
def test_a_protection_that_is_removed_is_seen(name: str) -> None:
    assert_seen(name)
