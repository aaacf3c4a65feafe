"""One run on one worker: what Ray executes. Trains from the last checkpoint and tells the driver what happened.

Where several workers train one run, the first of them does this, and the others `assist`.
"""

import logging
import time
from collections.abc import Iterator

import torch

from pipeline.cluster.pulse import Leave
from pipeline.config.experiment import RunSpec
from pipeline.errors import EnvironmentFault
from pipeline.loading.splits import Splits, load_splits
from pipeline.storage import attempts
from pipeline.storage.attempts import Superseded
from pipeline.store import checkpoints
from pipeline.store.slots import Busy
from pipeline.training.device import advice, device_name, forget_peak_mib, set_up
from pipeline.training.job import Advanced, Began, Elsewhere, Ended, Event, Job, Left
from pipeline.training.outcome import store
from resnet.compiling import lacking
from resnet.data_parallel import follow_rank_0
from resnet.peak import peak_multiply_adds
from resnet.precision import DTYPES, set_arithmetic
from resnet.training import Training, start, train
from resnet.workers import ALONE, Workers, agree

log = logging.getLogger(__name__)
CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into checkpoints
EVENT_S = 1.0  # between two messages to the driver


def execute(job: Job, workers: Workers = ALONE, leave: Leave | None = None) -> Iterator[Event]:
    """Trains the job's run to its end, unless that has been done, and stores it. For rank 0.

    When `leave` is set, it writes a checkpoint after the iteration under way, and ends.
    """
    leave = leave or Leave()
    device = set_up(job.cpus, job.gpus)
    try:
        with job.slot.lock():
            due = not job.slot.finished
            agree(workers, due, device)
            if due:
                yield from _train(job, device, workers, leave)
            if leave.heeded:
                return
            checkpoints.remove(job.slot.folder)  # also those of a worker that was killed between its last two steps
            attempts.forget(job.slot.folder)
            yield Ended(job.key, job.slot.record())
    except Busy:
        agree(workers, False, device)
        yield Elsewhere(job.key)
    except Superseded as reason:
        log.warning("%s: %s", job.spec.name, reason)
        if workers.size > 1:  # the others are in the middle of the run
            raise
        yield Elsewhere(job.key)


def assist(job: Job, workers: Workers) -> None:
    """What the other ranks do meanwhile: they train along, and keep nothing."""
    device = set_up(job.cpus, job.gpus)
    if agree(workers, False, device):
        run, splits = _begin(job, device, workers)
        follow_rank_0(run, workers)
        for _ in train(run, job.spec.recipe, job.spec.seed, splits.train, splits.val):
            pass


def _begin(job: Job, device: torch.device, workers: Workers) -> tuple[Training, Splits]:
    """The run before its first iteration, and this worker's share of the data."""
    recipe, manifest = job.spec.recipe, job.manifest
    _check_compiler(job.spec)
    set_arithmetic(recipe.precision)
    splits = load_splits(job.data, manifest, device, workers=max(0, job.cpus - 1), together=workers)
    run = start(
        job.spec.architecture,
        recipe,
        classes=len(manifest.classes),
        channels=manifest.channels,
        seed=job.spec.seed,
        device=device,
        workers=workers,
    )
    return run, splits


def _train(job: Job, device: torch.device, workers: Workers, leave: Leave) -> Iterator[Event]:
    recipe = job.spec.recipe
    set_arithmetic(recipe.precision)
    peak = peak_multiply_adds(device, DTYPES[recipe.precision]) * workers.size
    hint = advice(device, recipe.precision, job.manifest.size)
    forget_peak_mib(device)
    attempt = job.slot.begin()
    run, splits = _begin(job, device, workers)
    checkpoints.restore(job.slot.folder, job.key, run)
    follow_rank_0(run, workers)
    yield Began(job.key, device_name(device), peak, run.iteration, run.seconds, list(run.rows), hint)
    sent, told = len(run.rows), time.monotonic()
    save_after = told + job.checkpoint_s
    for _ in train(run, recipe, job.spec.seed, splits.train, splits.val):
        now = time.monotonic()
        leaving = leave.is_set() and run.iteration < recipe.iterations
        if now >= save_after or leaving:
            attempt.require()
            checkpoints.write(job.slot.folder, job.key, run)
            cost = time.monotonic() - now
            save_after = now + max(job.checkpoint_s, cost / CHECKPOINT_SHARE)
        if now >= told + EVENT_S or leaving:
            yield Advanced(job.key, run.iteration, run.seconds, run.rows[sent:])
            sent, told = len(run.rows), now
        if leaving:
            leave.heeded = True
            yield Left(job.key, run.iteration, leave.why)
            return
    yield Advanced(job.key, run.iteration, run.seconds, run.rows[sent:])
    store(job, run, attempt, peak)


def _check_compiler(spec: RunSpec) -> None:
    """Raises EnvironmentFault on a node that cannot compile what the recipe wants compiled."""
    missing = lacking() if spec.recipe.compile else None
    if missing is not None:
        raise EnvironmentFault(
            f"params.yaml: {spec.experiment}.networks.{spec.network}: train.compile needs {missing} on every "
            "node; install it, or set compile: false"
        )
