import fcntl
import os
import secrets
from collections.abc import Iterator

import pytest
import torch

from pipeline import lifeline
from pipeline.training import worker
from tests.kills import CHANGES, TRAIN
from tests.workspace import Workspace, make

# Ray reads them once in a process, when it is first imported: whichever test does that, the others must get on with it.
if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side, and sums over threads may be taken in another order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Trained once for all of pytest's processes, by the first that asks; the others wait for it. Nobody changes it."""
    own = tmp_path_factory.getbasetemp()
    top = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (top / "undisturbed.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        workspace = Workspace(top / "undisturbed")
        if not workspace.weights():
            workspace = make(workspace.folder, CHANGES)
            workspace.run(*TRAIN)
    return workspace


@pytest.fixture
def as_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a worker does to its process is undone; it sends an event after every iteration."""
    monkeypatch.setattr(lifeline, "end_with_parent", lambda: None)
    monkeypatch.setattr(worker, "EVENT_S", 0.0)
    yield
    torch.set_flush_denormal(False)
