"""One run on one worker: what Ray executes. Trains from the last checkpoint and tells the driver what happened."""

import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline import checkpoints, gradients, lifeline, loading
from pipeline.config import RunSpec
from pipeline.records import File, Manifest, RunRecord, describe, write_bytes, write_json
from pipeline.store import Busy, Slot, write_history
from resnet.count import count
from resnet.gradients import convolutions
from resnet.training import Row, Training, start, train
from resnet.weights import encode

CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into checkpoints
EVENT_S = 0.5  # between two messages to the driver


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A run with all that a worker needs; paths are absolute, for workers have folders of their own."""

    spec: RunSpec
    key: str
    slot: Slot
    data: Path
    manifest: Manifest
    code_digest: str
    cpus: int
    gpus: float
    checkpoint_s: float
    commit: str | None

    @property
    def work(self) -> int:
        """Multiply-adds of the whole run, to start the longest first."""
        spec = self.spec
        return multiply_adds(self) * 3 * spec.recipe.iterations * spec.recipe.batch_size


@dataclass(frozen=True, slots=True)
class Began:
    key: str
    device: str
    iteration: int  # from which it goes on
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Advanced:
    key: str
    iteration: int
    seconds: float
    rows: list[Row]  # made since the message before


@dataclass(frozen=True, slots=True)
class Ended:
    key: str
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another process holds the key's lock: ask again later."""

    key: str


Event = Began | Advanced | Ended | Elsewhere


def multiply_adds(job: Job) -> int:
    m = job.manifest
    return count(job.spec.architecture, classes=len(m.classes), channels=m.channels, size=m.size).multiply_adds


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
    yield Began(job.key, device_name(device), run.iteration, list(run.rows))
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
    _store(job, run, attempts)


def _store(job: Job, run: Training, attempts: int) -> None:
    """Writes the results, run.json last; from then on the run is finished and its checkpoints go."""
    folder = job.slot.folder
    write_bytes(folder / "weights.safetensors", encode(run.network, {"key": job.key}))
    write_history(folder / "history.csv", run.rows)
    gradients.write(folder / gradients.NAME, list(convolutions(run.network)), run.gradients)
    write_json(folder / "run.json", _record(job, run, attempts, describe(folder / "weights.safetensors", folder)))
    (folder / "attempts").unlink(missing_ok=True)


def _record(job: Job, run: Training, attempts: int, weights: File) -> RunRecord:
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
        peak_mib=_peak_mib(run.device),
        device=device_name(run.device),
        threads=torch.get_num_threads(),
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


def set_up(cpus: int, gpus: float) -> torch.device:
    """This process for one run: its threads, its device, and arithmetic that repeats itself."""
    lifeline.end_with_parent()
    torch.set_num_threads(cpus)
    torch.set_flush_denormal(True)
    if gpus > 0:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.cuda.reset_peak_memory_stats()
        return torch.device("cuda")
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak is then the process's own
        Path("/proc/self/clear_refs").write_text("5")  # the peak of this run, not of those before it
    return torch.device("cpu")


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}


def _count_attempt(slot: Slot) -> int:
    path = slot.folder / "attempts"
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().splitlines())
