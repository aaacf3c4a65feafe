import fcntl
import os
import secrets
import signal

import pytest
import torch

from tests.factories.processes import TWO_RUNS
from tests.factories.workspace import TRAIN, Workspace, make

# Commands that tests start must not inherit an ignored Ctrl-C, which a test run in the background has.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Ray reads them when it is first imported in a process, by whichever test: all tests must have the same.
if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run in several processes, sums over threads may be taken in another order, and a worker flushes to zero."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two runs, trained once for all processes of pytest by the first that needs them. No test changes it."""
    own = tmp_path_factory.getbasetemp()
    top = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (top / "undisturbed.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        workspace = Workspace(top / "undisturbed")
        if not workspace.weights():
            workspace = make(workspace.folder, TWO_RUNS)
            workspace.run(*TRAIN)
    return workspace
