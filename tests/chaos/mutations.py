"""Protections that are removed from the code: what the scenarios must see."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline import records
from pipeline import storage as files
from pipeline.run_store import checkpoint, lease
from resnet.training import Training
from tests.factories.workspace import Workspace

SCALARS = checkpoint.SCALARS
LISTS = ("rows", "gradients")
PARTS = ("network", "momentum", "sums", *LISTS, *SCALARS)


def without(part: str) -> Any:
    """What is restored from a checkpoint lacks `part`, which is as in a run before its start."""
    return partial(_leave_out, part)


def _leave_out(part: str) -> None:
    original = checkpoint.restore

    def restore(folder: Path, key: str, run: Training) -> bool:
        fresh = {name: tensor.clone() for name, tensor in run.state_tensors().items()}
        scalars = {name: getattr(run, name) for name in SCALARS}
        found = original(folder, key, run)
        if found and part in LISTS:
            getattr(run, part).clear()
        elif found and part == "momentum":
            run.optimizer.state.clear()
        elif found and part in SCALARS:
            setattr(run, part, scalars[part])
        elif found:
            kept = {name: tensor for name, tensor in run.state_tensors().items() if not name.startswith(part)}
            run.load_tensors(kept | {name: tensor for name, tensor in fresh.items() if name.startswith(part)})
        return found

    checkpoint.restore = restore


class _Equal(bytes):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False


def no_digest() -> None:
    """A checkpoint is taken without a look at its digest."""
    setattr(checkpoint, "hashlib", SimpleNamespace(sha256=lambda _: SimpleNamespace(digest=_Equal)))  # noqa: B010


def no_require() -> None:
    """An attempt does not look whether a later one has begun."""
    lease.Lease.require = lambda self: None  # type: ignore[method-assign]


def create_overwrites() -> None:
    """What must only be created is written over."""

    def create(path: Path, content: bytes) -> bool:
        files.write_bytes(path, content)
        return True

    _replace(files.create, create)


def files_in_place() -> None:
    """Files are written in place from the first byte on."""
    _replace(files.write_bytes, Path.write_bytes)


def folders_in_place() -> None:
    """A stage's folder is emptied and filled."""

    @contextmanager
    def replacing(target: Path, *, read_only: bool = False) -> Iterator[Path]:
        with files.storage_errors(target):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            yield target

    _replace(records.replacing, replacing)


def _replace(old: Any, new: Any) -> None:
    """In every module of the pipeline that has it by name."""
    for module in [module for name, module in sys.modules.items() if name.startswith("pipeline")]:
        for name in [name for name, value in vars(module).items() if value is old]:
            setattr(module, name, new)


def forgets_rows() -> None:
    """MLflow counts as having rows that were never sent."""
    from pipeline.tracking.client import Client

    Client.iterations = lambda *_: set(range(100_000))  # type: ignore[method-assign]


def sends_in_training() -> None:
    """Each step of training waits for MLflow."""
    from pipeline.tracking import sync

    updaters: list[sync.Updater] = []
    start = sync.Updater.start

    def starting(self: sync.Updater) -> None:
        updaters.append(self)
        start(self)

    sync.Updater.start = starting  # type: ignore[method-assign]
    lease.Lease.update = lambda *_, **__: updaters[-1].update() if updaters else None  # type: ignore[method-assign]


def fences_nobody(workspace: Workspace) -> None:
    """`no_require` in the checkout of a stage."""
    with (workspace.folder / "pipeline/run_store/lease.py").open("a") as file:
        file.write("\n\nLease.require = lambda self: None\n")


# name -> scenario, function, faults at most, seed
MUTATIONS: dict[str, tuple[str, Any, int, int]] = {
    **{f"checkpoint without {part}": ("kills", without(part), 60, 2) for part in PARTS},
    "digest of a truncated checkpoint": ("truncations", no_digest, 64, 1),
    "digest of a flipped checkpoint": ("bit-flips", no_digest, 64, 1),
    "lease.require": ("overtaken", no_require, 20, 1),
    "exclusive creation": ("overtaken", create_overwrites, 20, 1),
    "temporary files": ("full-disks", files_in_place, 24, 2),
    "replacement of folders": ("full-disks", folders_in_place, 24, 2),
    "what MLflow has": ("mlflow", forgets_rows, 3, 43),
    "the thread of MLflow": ("mlflow", sends_in_training, 7, 49),
    "lease.require on a cluster": ("partitions", fences_nobody, 4, 2),
}
DESCRIPTIONS = {name: (scenario, name) for name, (scenario, *_) in MUTATIONS.items()}
