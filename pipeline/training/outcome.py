"""What stays of a trained run: its files in the run store, and the record that says how it went."""

import dataclasses
import hashlib

import numpy as np
import torch

from pipeline.storage.attempts import Attempt, Superseded
from pipeline.storage.paths import create
from pipeline.storage.storage_faults import told
from pipeline.store import gradients
from pipeline.store.history import write_history
from pipeline.store.records import File, RunRecord, as_json, write_bytes
from pipeline.training.device import device_name, peak_mib, versions
from pipeline.training.job import Job, multiply_adds
from resnet.gradients import convolutions
from resnet.history import Row
from resnet.training import Training
from resnet.weights import encode


def store(job: Job, run: Training, attempt: Attempt, peak: float) -> None:
    """Writes the results, run.json last; from then on the run is finished and its checkpoints go.

    Raises Superseded before the first write that a later attempt forbids, and EnvironmentFault.
    """
    folder = job.slot.folder
    content = encode(run.network, {"key": job.key})
    weights = File(path="weights.safetensors", bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    with told(folder.parent):
        attempt.require()
        write_bytes(folder / weights.path, content)
        attempt.require()
        write_history(folder / "history.csv", run.rows)
        attempt.require()
        gradients.write(folder / gradients.NAME, list(convolutions(run.network)), run.gradients)
        attempt.require()
        if not create(folder / "run.json", as_json(_record(job, run, attempt.number, peak, weights))):
            raise Superseded("another attempt has finished this run; its result stays")


def _record(job: Job, run: Training, attempts: int, peak: float, weights: File) -> RunRecord:
    spec, recipe = job.spec, job.spec.recipe
    return RunRecord(
        run=spec.name,
        key=job.key,
        experiment=spec.experiment,
        network=spec.network,
        architecture=dataclasses.asdict(spec.architecture),
        depth=spec.architecture.depth,
        family=spec.architecture.family,
        shortcut=spec.architecture.shortcut,
        seed=spec.seed,
        status="diverged" if run.diverged else "finished",
        iterations=run.iteration,
        warm_up_ended_at=run.warm_up_ended_at,
        parameters=sum(parameter.numel() for parameter in run.network.parameters()),
        multiply_adds=multiply_adds(job),
        train_top1_error_percent=last_epoch_error(run.rows, job.manifest.train.images, recipe.batch_size),
        val_top1_error_percent=run.rows[-1].val_top1_error_percent,
        seconds=run.seconds,
        images_per_second=run.iteration * recipe.batch_size / run.seconds,
        peak_multiply_adds_per_second=peak,
        peak_mib=peak_mib(run.device),
        device=device_name(run.device),
        threads=torch.get_num_threads(),
        workers=run.workers.size,
        world_sizes=run.world_sizes,
        versions=versions(),
        commit=job.commit,
        attempts=attempts,
        recipe=dataclasses.asdict(recipe),
        data_digest=job.manifest.digest(),
        code_digest=job.code_digest,
        weights=weights,
    )


def last_epoch_error(rows: list[Row], images: int, batch_size: int) -> float:
    """Training error in percent over the rows that make up the last epoch, or all where there was less than one."""
    first = rows[-1].iteration - images / batch_size
    weights, errors, before = [], [], 0
    for row in rows:
        if row.iteration > first:
            weights.append(row.iteration - before)
            errors.append(row.train_top1_error_percent)
        before = row.iteration
    return float(np.average(errors, weights=weights))
