"""Run stores of each kind, and a run that is small enough to be trained in this process again and again."""

import functools
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import worker
from pipeline.config import RunSpec
from pipeline.data.digits import Digits, prepare
from pipeline.records import File, RunRecord, describe, write_json
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RECORD, WEIGHTS, RunFolder
from pipeline.run_store.tables import GRADIENTS, HISTORY, encode_gradients, encode_history
from pipeline.storage import locate
from pipeline.worker import Setting, train_run
from resnet.architectures import Architecture
from resnet.history import Row
from resnet.recipe import Recipe
from tests.factories.buckets import gs, s3

KINDS = ("folder", pytest.param("s3", marks=pytest.mark.slow), pytest.param("gs", marks=pytest.mark.slow))
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
    key="a" * 64,
)  # fmt: skip
ROWS = [Row(3, 1.2, 0.1, 1 / 3, 200 / 3, None, None, 0.1 + 0.2, 1785000000.123456), Row(11, 4.4, 0, 1, 2, 3, 4, 7, 0)]

New = Callable[[], Path]  # makes an empty run store


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
        yield lambda: locate(server.storage(uuid.uuid4().hex))
        forget_clients()


def forget_clients() -> None:
    """Makes the libraries forget their clients, with the environment that these were made in."""
    for name, client in (("s3fs", "S3FileSystem"), ("gcsfs", "GCSFileSystem")):
        if name in sys.modules:  # the store's to import, which sets its environment
            getattr(sys.modules[name], client).clear_instance_cache()


@contextmanager
def frequent_checkpoints() -> Iterator[None]:
    """Lets `checkpoint_s` alone decide when a checkpoint is written, whatever it costs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "CHECKPOINT_FRACTION", 1e9)
        yield


def setting(data: Path, *, checkpoint_s: float = 1e9) -> Setting:
    """How `SPEC` is trained on the digits, which are made in `data`."""
    _prepare(data)
    return Setting(data=data, cpus=1, gpus=0.0, checkpoint_s=checkpoint_s, commit=None, code_digest="c")


@functools.cache
def _prepare(data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    manifest = prepare(Digits(dataset="digits", validation=800, test=800), data, "tiny.data")
    write_json(data / "manifest.json", manifest)


def train_here(store: Path, how: Setting, spec: RunSpec = SPEC) -> RunFolder:
    """Makes one attempt at the run in this process."""
    with lease.acquire(store / spec.key) as held:
        train_run(spec, how, held)
    return RunFolder(store / spec.key)


def names(folder: Path) -> set[str]:
    """The files of a run without its lease."""
    return {path.name for path in folder.glob("*") if not lease.is_lease(path)}


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run without its lease, and what is in them."""
    return {name: (folder / name).read_bytes() for name in names(folder)}


def finished_run(folder: Path) -> RunFolder:
    """The folder of a finished run, with small files that no training made."""
    folder.mkdir(parents=True)
    contents = {
        WEIGHTS: b"weights", HISTORY: encode_history(ROWS), GRADIENTS: encode_gradients(["conv1.conv"], [])
    }  # fmt: skip
    write_json(folder / RECORD, run_record(folder.name, write_files(folder, contents)))
    return RunFolder(folder)


def weights(run: RunFolder) -> File:
    """The weights of a finished run, by size and digest."""
    return run.record().file(WEIGHTS)


def write_files(folder: Path, contents: dict[str, bytes]) -> list[File]:
    """Writes files into the folder. Returns them as a record names them."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [describe(folder / name, folder) for name in contents]


def run_record(key: str, files: list[File]) -> RunRecord:
    """The record of a finished run."""
    values: dict[str, Any] = {
        "run": "row-seed5", "key": key, "experiment": "tiny", "network": "row", "architecture": {}, "depth": 6,
        "family": "residual", "shortcut": "A", "seed": 5, "status": "finished", "iterations": 11,
        "warm_up_ended_at": None, "parameters": 1, "multiply_adds": 1, "train_top1_error_percent": 1.0,
        "val_top1_error_percent": 2.0, "seconds": 1.0, "images_per_second": 1.0, "peak_multiply_adds_per_second": 1e9,
        "peak_mib": 1.0, "device": "x", "threads": 1, "workers": 1, "versions": {}, "commit": None, "attempts": 1,
        "recipe": {}, "data_digest": "b", "code_digest": "c", "size": 8,
        "files": files,
    }  # fmt: skip
    return RunRecord.model_validate(values)
