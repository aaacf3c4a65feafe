"""Checkpoints: safetensors behind a digest, written whole or not at all, the last two kept. Nothing is unpickled."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from pipeline.storage.paths import is_remote
from pipeline.storage.storage_faults import told
from pipeline.store.records import write_bytes
from resnet.history import Gradient, Row
from resnet.training import Training

log = logging.getLogger(__name__)
FORMAT = 2
KEPT = 2
DIGEST_BYTES = 32


def write(folder: Path, key: str, run: Training) -> None:
    """The state of `run` between two iterations, as checkpoint-<iteration>; older ones than the last two go.

    Raises EnvironmentFault, and leaves what was there, where it cannot be written.
    """
    tensors = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    tensors |= {f"momentum.{i}": momentum for i, momentum in enumerate(run.sgd.momenta)}
    tensors["sums"] = run.sums
    state = {
        "format": FORMAT,
        "key": key,
        "iteration": run.iteration,
        "warm_up_ended_at": run.warm_up_ended_at,
        "diverged": run.diverged,
        "seconds": run.seconds,
        "world_sizes": run.world_sizes,
        "rows": [dataclasses.astuple(row) for row in run.rows],
        "gradients": [dataclasses.astuple(gradient) for gradient in run.gradients],
    }
    flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    payload = save(flat, metadata={"state": json.dumps(state)})
    path = folder / f"checkpoint-{run.iteration:09d}"
    with told(folder.parent):
        write_bytes(path, hashlib.sha256(payload).digest() + payload)
        # A later one than this is a damaged one that was passed over: it must not count among the last two.
        for old in [other for other in _all(folder) if other.name <= path.name][KEPT:]:
            old.unlink(missing_ok=True)


def restore(folder: Path, key: str, run: Training) -> bool:
    """Puts the newest whole checkpoint into `run`, a run before its first iteration. False where there is none.

    Raises EnvironmentFault where an object store does not answer.
    """
    with told(folder.parent):
        found = _all(folder)
    for path in found:
        content = _content(path)
        if content is None:
            continue
        payload = content[DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != content[:DIGEST_BYTES]:
            log.warning("%s is damaged; going back to the one before", path.name)
            continue
        state = _state(payload)
        if state is None or state["key"] != key:
            log.warning("%s is not of this run or of another format; going back to the one before", path.name)
            continue
        _fill(run, load(payload), state)
        return True
    return False


def _content(path: Path) -> bytes | None:
    """None, and a warning, where it cannot be read."""
    with told(path.parent.parent):
        try:
            return path.read_bytes()
        except OSError as error:
            if is_remote(path):  # not the checkpoint is bad but the way there
                raise
            log.warning("%s cannot be read (%s); going back to the one before", path.name, error.strerror)
            return None


def _state(payload: bytes) -> dict[str, Any] | None:
    """What stands beside the tensors, or None where that is not of our FORMAT."""
    try:
        header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
        state = json.loads(header["__metadata__"]["state"])
        return state if state["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        return None


def remove(folder: Path) -> None:
    with told(folder.parent):
        for path in folder.glob("*checkpoint-*"):
            path.unlink(missing_ok=True)


def _all(folder: Path) -> list[Path]:
    """Newest first by iteration, never by the clock."""
    return sorted(folder.glob("checkpoint-*"), reverse=True)


def _fill(run: Training, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    weights = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    run.network.load_state_dict(weights)
    if "momentum.0" in tensors:
        run.sgd.go_on(tensors[f"momentum.{i}"] for i in range(len(run.sgd.parameters)))
    run.sums.copy_(tensors["sums"])
    for name in ("iteration", "warm_up_ended_at", "diverged", "seconds"):
        setattr(run, name, state[name])
    run.world_sizes[:] = [(iteration, workers) for iteration, workers in state["world_sizes"]]
    run.rows[:] = [Row(*row) for row in state["rows"]]
    run.gradients[:] = [Gradient(iteration, tuple(norms)) for iteration, norms in state["gradients"]]
