"""Checkpoints: safetensors behind a SHA-256, written atomically, the last two kept. Nothing is unpickled."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from pipeline.storage import is_remote, storage_errors, write_bytes
from resnet.history import Gradient, Row
from resnet.training import Training

log = logging.getLogger(__name__)
FORMAT = 3
KEPT = 2
DIGEST_BYTES = 32
SCALARS = ("iteration", "warm_up_ended_at", "diverged", "seconds")


def write(folder: Path, key: str, run: Training) -> None:
    """Writes the state of `run` between two iterations as checkpoint-<iteration>, and keeps one before it.

    Raises EnvironmentFault, and keeps the earlier checkpoints, where it cannot be written.
    """
    state = {name: getattr(run, name) for name in SCALARS} | {
        "format": FORMAT,
        "key": key,
        "rows": [dataclasses.astuple(row) for row in run.rows],
        "gradients": [dataclasses.astuple(gradient) for gradient in run.gradients],
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in run.state_tensors().items()}
    payload = save(tensors, metadata={"state": json.dumps(state)})
    path = folder / f"checkpoint-{run.iteration:09d}"
    with storage_errors(folder.parent):
        write_bytes(path, hashlib.sha256(payload).digest() + payload)
        # A later one than this is a damaged one that was passed over: it does not count as one of the last two.
        for old in [other for other in _newest_first(folder) if other.name <= path.name][KEPT:]:
            old.unlink(missing_ok=True)


def restore(folder: Path, key: str, run: Training) -> bool:
    """Loads the newest intact checkpoint into `run`, a run before its first iteration. False where there is none.

    Raises EnvironmentFault where an object store does not answer.
    """
    with storage_errors(folder.parent):
        paths = _newest_first(folder)
    for path in paths:
        content = _content(path)
        if content is None:
            continue
        payload = content[DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != content[:DIGEST_BYTES]:
            log.warning("%s is damaged; resuming from the one before", path.name)
            continue
        state = _state(payload)
        if state is None or state["key"] != key:
            log.warning("%s is of another run or format; resuming from the one before", path.name)
            continue
        run.load_tensors(load(payload))
        for name in SCALARS:
            setattr(run, name, state[name])
        run.rows[:] = [Row(*row) for row in state["rows"]]
        run.gradients[:] = [Gradient(iteration, tuple(norms)) for iteration, norms in state["gradients"]]
        return True
    return False


def newest_rows(folder: Path) -> list[Row]:
    """The history in the newest checkpoint, read without its tensors; empty where there is none or it is damaged."""
    with storage_errors(folder.parent):
        for path in _newest_first(folder):
            try:
                with path.open("rb") as file:
                    start = file.read(DIGEST_BYTES + 8)
                    length = int.from_bytes(start[DIGEST_BYTES:], "little")  # any number, where it is damaged
                    payload = start[DIGEST_BYTES:] + file.read(min(length, path.stat().st_size))
            except FileNotFoundError:  # removed at this moment
                continue
            state = _state(payload)
            return [Row(*row) for row in state["rows"]] if state else []
    return []


def remove(folder: Path) -> None:
    """Removes all checkpoints, those that were not completely written too. Raises EnvironmentFault."""
    with storage_errors(folder.parent):
        for path in folder.glob("*checkpoint-*"):
            path.unlink(missing_ok=True)


def _content(path: Path) -> bytes | None:
    """None, and a warning, where it cannot be read."""
    with storage_errors(path.parent.parent):
        try:
            return path.read_bytes()
        except OSError as error:
            if is_remote(path):  # the checkpoint may be intact: the store did not answer
                raise
            log.warning("%s cannot be read (%s); resuming from the one before", path.name, error.strerror)
            return None


def _state(payload: bytes) -> dict[str, Any] | None:
    """The values next to the tensors; None where they are not of our FORMAT."""
    try:
        header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
        state = json.loads(header["__metadata__"]["state"])
        return state if state["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        return None


def _newest_first(folder: Path) -> list[Path]:
    """The checkpoints, sorted by iteration, never by the clock."""
    return sorted(folder.glob("checkpoint-*"), reverse=True)
