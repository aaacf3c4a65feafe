"""Run stores of each kind, empty ones, and a run that is small enough to be trained in them again and again."""

import functools
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch

from pipeline import lifeline
from pipeline.config.experiment import RunSpec
from pipeline.config.sections import Digits
from pipeline.datasets import arrays, digits
from pipeline.storage import paths
from pipeline.store.records import Manifest
from pipeline.store.slots import Slot
from pipeline.training import worker
from pipeline.training.job import Job
from resnet.architectures import Architecture
from resnet.recipe import Recipe
from tests.buckets import gs, s3

KINDS = ("folder", "s3", "gs")
SPEC = RunSpec(
    experiment="tiny",
    network="row",
    architecture_name="resnet-18",
    architecture=Architecture(stem="cifar", block="basic", blocks=(1,), width=4, shortcut="A"),
    recipe=Recipe(
        batch_size=16, iterations=12, lr=0.02, lr_drops=(8,), momentum=0.9, weight_decay=0.0001, pad=1, flip=False,
        record_every=2, validate_every=4,
    ),
    seed=7,
)  # fmt: skip

New = Callable[[], Path]  # an empty run store


@contextmanager
def stores(kind: str, folder: Path) -> Iterator[New]:
    """Makes empty run stores of the kind, for as long as the block lasts; with the clients' environment."""
    with ExitStack() as stack:
        if kind == "folder":
            yield lambda: folder / uuid.uuid4().hex
            return
        server = stack.enter_context(s3() if kind == "s3" else gs())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in server.environment.items():
            patch.setenv(name, value)
        forget_clients()
        yield lambda: paths.locate(server.storage(uuid.uuid4().hex))
        forget_clients()


def forget_clients() -> None:
    """The libraries keep clients, with the environment that these were made in."""
    for name, client in (("s3fs", "S3FileSystem"), ("gcsfs", "GCSFileSystem")):
        if name in sys.modules:  # the store's to import, which sets its environment
            getattr(sys.modules[name], client).clear_instance_cache()


@contextmanager
def as_a_worker() -> Iterator[None]:
    """This process may execute jobs, and writes a checkpoint after every iteration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifeline, "end_with_parent", lambda: None)
        patch.setattr(worker, "CHECKPOINT_SHARE", 1e9)
        yield
    torch.set_flush_denormal(False)


def job(store: Path, data: Path, *, checkpoint_s: float = 1e-9) -> Job:
    """A run of twelve iterations on the digits, which are made in `data`."""
    return Job(
        spec=SPEC, key="a" * 64, slot=Slot(store / ("a" * 64)), data=data, manifest=_make(data), code_digest="c",
        cpus=1, gpus=0.0, checkpoint_s=checkpoint_s, commit=None,
    )  # fmt: skip


@functools.cache
def _make(data: Path) -> Manifest:
    section = Digits(dataset="digits", validation=800, test=800)
    data.mkdir(parents=True, exist_ok=True)
    return arrays.write(data, digits.read(section.validation, section.test, "tiny.data"))


def names(folder: Path) -> set[str]:
    """What counts of a run's files: without the lock."""
    return {path.name for path in folder.glob("*") if path.name != "lock" and not path.name.startswith("lease-")}
