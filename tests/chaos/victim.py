"""A process that trains one run and dies where the scenario says: a fork, so that torch is imported once for all."""

import functools
import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline import worker
from pipeline.errors import UserError
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RunFolder
from pipeline.worker import Setting, train_run
from resnet.in_memory_data import Batch, TrainBatches
from resnet.recipe import Recipe, WarmUp
from tests.factories.stores import SPEC, setting
from tests.factories.workspace import untimed

RECIPE = Recipe(
    batch_size=16, iterations=40, lr=0.05, lr_drops=(20, 30), momentum=0.9, weight_decay=0.0001, pad=1, flip=False,
    warm_up=WarmUp(lr=0.01, until_train_error_percent=90), record_every=3, validate_every=6,
)  # fmt: skip
BROKEN_FROM = 26
STEPS = ("open", "fsync", "replace", "link", "unlink", "_store")  # of writing files; the last, the end of a run
ENDED, KEPT_OUT = 0, 7  # exit codes of an attempt: its run is finished, or another attempt has the lease


@dataclass(frozen=True, slots=True)
class Death:
    """SIGKILL from within, before or after the `count`th call of a step; never, where there are fewer calls."""

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


@dataclass(frozen=True, slots=True)
class World:
    """The run store of one run, and how it is trained."""

    store: Path
    how: Setting
    diverges: bool = False  # its images are infinite from BROKEN_FROM on

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.store / SPEC.key)

    @property
    def ledger(self) -> Path:
        """A line for each batch that is about to be applied: process, iteration, digest of images and labels."""
        return self.store / "ledger"

    def batches(self) -> list[tuple[int, int, str]]:
        rows = [line.split() for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []
        return [(int(pid), int(iteration), digest) for pid, iteration, digest in rows]

    def result(self) -> Result | None:
        """None before the run has ended, and where a file of it is not what its record says."""
        if not self.run.finished:
            return None
        try:
            record, folder = self.run.record(), self.run.path
        except UserError:
            return None
        return Result(
            weights=hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest(),
            history=untimed(folder / "history.csv"),
            gradients=(folder / "gradients.csv").read_text(),
            ending=(record.status, record.iterations, record.warm_up_ended_at),
        )


def world(store: Path, data: Path, *, diverges: bool = False) -> World:
    """An empty run store; the data are made in `data`. Checkpoints are written after every iteration."""
    store.mkdir(parents=True)
    return World(store, setting(data, checkpoint_s=0.0), diverges)


def attempt(one: World, death: Death | None = None, first: Callable[[], Any] | None = None) -> int:
    """Forks a process that makes one attempt; its process id. `first` may change its copy of the code."""
    return fork(functools.partial(_train, one, death), first)


def fork(main: Callable[[], int], first: Callable[[], Any] | None = None) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            torch.set_num_threads(1)
            if first is not None:
                first()
            code = main()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    """Waits for the process; the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _train(one: World, death: Death | None) -> int:
    worker.CHECKPOINT_FRACTION = 1e9
    _keep_ledger(one)
    if death is not None:
        _arm(death)
    try:
        with lease.acquire(one.run.path) as held:
            train_run(replace(SPEC, recipe=RECIPE), one.how, held)
    except (lease.Busy, lease.Superseded):
        return KEPT_OUT
    return ENDED


def _keep_ledger(one: World) -> None:
    original = TrainBatches.batches

    def batches(self: TrainBatches, recipe: Recipe, seed: int, start: int) -> Iterator[Batch]:
        for iteration, (images, labels) in enumerate(original(self, recipe, seed, start), start + 1):
            digest = hashlib.sha256(images.contiguous().numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
            with one.ledger.open("a") as file:
                file.write(f"{os.getpid()} {iteration} {digest[:16]}\n")
            yield images * torch.inf if one.diverges and iteration >= BROKEN_FROM else images, labels

    TrainBatches.batches = batches  # type: ignore[method-assign]


def _arm(death: Death) -> None:
    """Replaces the step by one that counts, in this process."""
    owner: Any = {"open": Path, "unlink": Path, "_store": worker}.get(death.step, os)
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
