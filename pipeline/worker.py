"""One run on one worker: what Ray executes. Trains from the last checkpoint and tells the driver what happened."""

import os
import time
from collections.abc import Iterator

from pipeline import checkpoints, loading
from pipeline.config import RunSpec
from pipeline.device import advice, device_name, forget_peak_mib, set_up
from pipeline.errors import EnvironmentFault
from pipeline.job import Advanced, Began, Elsewhere, Ended, Event, Job
from pipeline.outcome import store
from pipeline.store import Busy, Slot
from resnet.compiling import lacking
from resnet.peak import peak_multiply_adds
from resnet.precision import DTYPES, set_arithmetic
from resnet.training import start, train

CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into checkpoints
EVENT_S = 0.5  # between two messages to the driver


def execute(job: Job) -> Iterator[Event]:
    """Trains the job's run to its end, unless that has been done, and stores it."""
    try:
        with job.slot.lock():
            if not job.slot.finished:
                yield from _train(job)
            checkpoints.remove(job.slot.folder)  # also those of a worker that was killed between its last two steps
            yield Ended(job.key, job.slot.record())
    except Busy:
        yield Elsewhere(job.key)


def _train(job: Job) -> Iterator[Event]:
    device = set_up(job.cpus, job.gpus)
    _check_compiler(job.spec)
    set_arithmetic(job.spec.recipe.precision)
    peak = peak_multiply_adds(device, DTYPES[job.spec.recipe.precision])
    hint = advice(device, job.spec.recipe.precision, job.manifest.size)
    forget_peak_mib(device)
    job.slot.tidy()
    attempts = _count_attempt(job.slot)
    recipe, manifest = job.spec.recipe, job.manifest
    splits = loading.load(job.data, manifest, device, workers=max(0, job.cpus - 1))
    run = start(
        job.spec.architecture,
        recipe,
        classes=len(manifest.classes),
        channels=manifest.channels,
        seed=job.spec.seed,
        device=device,
    )
    checkpoints.restore(job.slot.folder, job.key, run)
    yield Began(job.key, device_name(device), peak, run.iteration, run.seconds, list(run.rows), hint)
    sent, told = len(run.rows), time.monotonic()
    save_after = told + job.checkpoint_s
    for _ in train(run, recipe, job.spec.seed, splits.train, splits.val):
        now = time.monotonic()
        if now >= save_after:
            checkpoints.write(job.slot.folder, job.key, run)
            cost = time.monotonic() - now
            save_after = now + max(job.checkpoint_s, cost / CHECKPOINT_SHARE)
        if now >= told + EVENT_S:
            yield Advanced(job.key, run.iteration, run.seconds, run.rows[sent:])
            sent, told = len(run.rows), now
    yield Advanced(job.key, run.iteration, run.seconds, run.rows[sent:])
    store(job, run, attempts, peak)


def _check_compiler(spec: RunSpec) -> None:
    """Raises EnvironmentFault on a node that cannot compile what the recipe wants compiled."""
    missing = lacking() if spec.recipe.compile else None
    if missing is not None:
        raise EnvironmentFault(
            f"params.yaml: {spec.experiment}.networks.{spec.network}: train.compile needs {missing} on every "
            "node; install it, or set compile: false"
        )


def _count_attempt(slot: Slot) -> int:
    path = slot.folder / "attempts"
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().splitlines())
