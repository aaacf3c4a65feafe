import pytest
import torch

from tests.kills import CHANGES, TRAIN
from tests.workspace import Workspace, make


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side, and sums over threads may be taken in another order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make(tmp_path_factory.mktemp("undisturbed") / "w", CHANGES)
    workspace.run(*TRAIN)
    return workspace
