"""Checkpoints from which one item is left out, and code that is broken: what the harness is there to see."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from pipeline.store import checkpoints
from resnet.training import Training
from tests.workspace import Workspace


def _put_back(run: Training, part: str, fresh: dict[str, Any]) -> None:
    if part == "network":
        run.network.load_state_dict(fresh)
    elif part == "momentum":
        run.sgd.momenta.clear()
    elif part == "sums":
        run.sums.zero_()
    elif part in LISTS:
        getattr(run, part).clear()
    else:
        setattr(run, part, fresh[part])


SCALARS = ("iteration", "warm_up_ended_at", "diverged", "seconds")
LISTS = ("rows", "gradients", "world_sizes")
PARTS = ("network", "momentum", "sums", *LISTS, *SCALARS)


def without(part: str) -> Callable[[], None]:
    """Changes the process that calls it: what is restored lacks `part`, which stays as in a run before its start."""
    return partial(_leave_out, part)


def _leave_out(part: str) -> None:
    original = checkpoints._fill

    def fill(run: Training, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        scalars = {name: getattr(run, name) for name in SCALARS}
        weights = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
        original(run, tensors, state)
        _put_back(run, part, weights if part == "network" else scalars)

    checkpoints._fill = fill


FENCE = """

Attempt.require = lambda self: None
"""


def fences_nobody(workspace: Workspace) -> None:
    """An attempt does not look whether there is a later one."""
    _add(workspace, "storage/attempts.py", FENCE)


def _add(workspace: Workspace, module: str, lines: str) -> None:
    with (workspace.folder / "pipeline" / module).open("a") as file:
        file.write(lines)
