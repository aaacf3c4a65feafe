"""A process that trains one run and dies where it is told to: a fork, so that torch is imported once for all."""

import functools
import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from pipeline import lifeline
from pipeline.config.experiment import RunSpec
from pipeline.config.sections import Digits
from pipeline.datasets import arrays, digits
from pipeline.store import checkpoints, gradients
from pipeline.store.slots import Slot
from pipeline.training import worker
from pipeline.training.job import Job
from resnet.architectures import Architecture
from resnet.data import Augmented, Batch
from resnet.recipe import Recipe, WarmUp

RECIPE = Recipe(
    batch_size=16, iterations=40, lr=0.05, lr_drops=(20, 30), momentum=0.9, weight_decay=0.0001, pad=1, flip=False,
    warm_up=WarmUp(lr=0.01, until_train_error_percent=90), record_every=3, validate_every=6,
)  # fmt: skip
NETWORK = Architecture(stem="cifar", block="basic", blocks=(1,), width=4, shortcut="A")
BROKEN_FROM = 26
STEPS = ("open", "fsync", "replace", "unlink", "store")  # of writing checkpoints; the last, what a run ends with


@dataclass(frozen=True, slots=True)
class Death:
    """SIGKILL from within, before or after the `count`th call of a step; never, where there are not so many."""

    step: str
    count: int
    after: bool


@dataclass(frozen=True, slots=True)
class Result:
    """All that must not depend on what happened on the way."""

    weights: str  # SHA-256
    history: list[str]  # without the columns of time
    gradients: str
    ending: tuple[str, int, int | None]  # status, iterations, end of the warm-up
    world_sizes: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class World:
    """The data, and the run that all attempts share."""

    job: Job
    diverges: bool  # its images are no numbers from BROKEN_FROM on

    @property
    def ledger(self) -> Path:
        return self.job.slot.folder.parent / "ledger"

    def result(self) -> Result | None:
        """None before the run has ended."""
        folder = self.job.slot.folder
        if not self.job.slot.finished:
            return None
        record, rows = self.job.slot.record(), (folder / "history.csv").read_text().splitlines()
        return Result(
            weights=hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest(),
            history=[row.rsplit(",", 2)[0] for row in rows],
            gradients=(folder / gradients.NAME).read_text(),
            ending=(record.status, record.iterations, record.warm_up_ended_at),
            world_sizes=record.world_sizes,
        )

    def seconds(self) -> list[float]:
        """Of training, by the rows of the history."""
        rows = (self.job.slot.folder / "history.csv").read_text().splitlines()[1:]
        return [float(row.rsplit(",", 2)[1]) for row in rows]


def world(folder: Path, data: Path, *, diverges: bool = False) -> World:
    """A run store of its own in `folder`; the data are made in `data`."""
    section = Digits(dataset="digits", validation=800, test=800)
    data.mkdir(parents=True, exist_ok=True)
    manifest = arrays.write(data, digits.read(section.validation, section.test, "chaos.data"))
    spec = RunSpec(
        experiment="chaos", network="row", architecture_name="resnet-18", architecture=NETWORK, recipe=RECIPE, seed=7
    )
    slot = Slot(folder / "store" / ("a" * 64))
    slot.folder.mkdir(parents=True)
    return World(
        Job(
            spec=spec,
            key="a" * 64,
            slot=slot,
            data=data,
            manifest=manifest,
            code_digest="c",
            cpus=1,
            gpus=0.0,
            checkpoint_s=0.0,
            commit=None,
        ),
        diverges,
    )


def attempt(world: World, death: Death | None = None, mutate: Callable[[], Any] | None = None) -> int:
    """Forks a victim; its process id. `mutate` may change its copy of the code before it begins."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            code = _live(world, death, mutate)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def _live(world: World, death: Death | None, mutate: Callable[[], Any] | None) -> int:
    if mutate is not None:
        mutate()
    torch.set_num_threads(1)
    with patch.object(lifeline, "end_with_parent", lambda: None), patch.object(worker, "CHECKPOINT_SHARE", 1e9):
        _keep_ledger(world)
        if death is not None:
            _arm(death)
        for _ in worker.execute(world.job):
            pass
    return 0


def _keep_ledger(world: World) -> None:
    """A line for every batch that is about to be applied: process, iteration, digest of images and labels."""
    original = Augmented.batches

    def batches(self: Augmented, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        for iteration, (images, labels) in enumerate(original(self, recipe, seed, start), start + 1):
            digest = hashlib.sha256(images.contiguous().numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
            with world.ledger.open("a") as file:
                file.write(f"{os.getpid()} {iteration} {digest[:16]}\n")
            yield images * torch.inf if world.diverges and iteration >= BROKEN_FROM else images, labels

    Augmented.batches = batches  # type: ignore[method-assign]


def _arm(death: Death) -> None:
    """Replaces the step by one that counts, in this process alone."""
    owner: Any = {"open": Path, "unlink": Path, "store": worker}.get(death.step, os)
    original, calls = getattr(owner, death.step), 0

    @functools.wraps(original)
    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        last = calls == death.count
        if last and not death.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, death.step, counted)


assert checkpoints.KEPT == 2  # what the scenarios were written for
