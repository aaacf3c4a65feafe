"""Trains one run to its end on one worker: resumes from the last checkpoint, writes checkpoints, stores the result.

Where several ranks train one run, rank 0 does this, and the others call `assist`.
"""

import contextlib
import ctypes
import dataclasses
import hashlib
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from pipeline.config import RunSpec
from pipeline.data.loader import Splits, load_splits
from pipeline.errors import EnvironmentFault
from pipeline.records import File, Manifest, RunRecord, as_json, read
from pipeline.run_store import checkpoint
from pipeline.run_store.lease import Lease, Superseded
from pipeline.run_store.run_folder import RECORD, WEIGHTS, RunFolder
from pipeline.run_store.tables import GRADIENTS, HISTORY, encode_gradients, encode_history
from pipeline.storage import create, storage_errors, write_bytes
from resnet.counting import count
from resnet.device import DTYPES, missing_for_compilation, peak_multiply_adds, set_arithmetic
from resnet.distributed import ALONE, Workers, broadcast_int
from resnet.gradients import convolutions
from resnet.history import last_epoch_error
from resnet.training import Training, follow_rank_0, start, train
from resnet.weights import encode

CHECKPOINT_FRACTION = 0.02  # of the time goes into checkpoints, at most
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MAX_KEPT_BYTES = 32 << 20  # glibc takes no larger threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where a run is trained, and with what. Paths are absolute, since workers have working folders of their own."""

    data: Path
    cpus: int
    gpus: float
    checkpoint_s: float  # seconds of work that a kill costs at most
    commit: str | None
    code_digest: str


def train_run(spec: RunSpec, setting: Setting, lease: Lease, ranks: Workers = ALONE) -> None:
    """Trains the run, unless it is finished, and stores it in the folder of the lease.

    Raises Superseded where a later attempt has begun, UserError for damaged data, and EnvironmentFault.
    """
    device = set_up(setting.cpus, setting.gpus)
    folder = RunFolder(lease.path.parent)
    due = not folder.finished
    broadcast_int(ranks, due, device)
    if due:
        folder.remove_temporary_files()
        _train(spec, setting, lease, device, ranks)
    checkpoint.remove(folder.path)  # those too of a worker that was killed between its last two steps


def assist(spec: RunSpec, setting: Setting, ranks: Workers) -> None:
    """Trains along on a rank other than 0, and stores nothing."""
    device = set_up(setting.cpus, setting.gpus)
    if broadcast_int(ranks, False, device):
        run, splits, _ = _begin(spec, setting, device, ranks)
        follow_rank_0(run)
        for _ in train(run, spec.recipe, spec.seed, splits.train, splits.val):
            pass


def set_up(cpus: int, gpus: float) -> torch.device:
    """Prepares this process for one run: its threads, its device, and arithmetic that repeats itself."""
    torch.set_num_threads(cpus)
    set_arithmetic("fp32")  # until a recipe, or a protocol, sets another one
    _keep_freed_memory()
    return torch.device("cuda" if gpus > 0 else "cpu")


def _keep_freed_memory() -> None:
    """Lets glibc keep freed memory for the next tensors.

    An iteration allocates and frees the same megabytes again. Returning them to the system costs a page fault per
    4 KiB, a few per cent of the time of a CIFAR network on a CPU.
    """
    with contextlib.suppress(OSError, AttributeError):  # of other C libraries
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, MAX_KEPT_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _begin(spec: RunSpec, setting: Setting, device: torch.device, ranks: Workers) -> tuple[Training, Splits, Manifest]:
    """The run before its first iteration, and this rank's shard of the data."""
    missing = missing_for_compilation() if spec.recipe.compile else None
    if missing is not None:
        raise EnvironmentFault(
            f"params.yaml: {spec.experiment}.networks.{spec.network}: train.compile needs {missing} on every "
            "node; install it, or set compile: false"
        )
    manifest = read(Manifest, setting.data / "manifest.json", f"dvc repro prepare@{spec.experiment}")
    set_arithmetic(spec.recipe.precision)
    splits = load_splits(setting.data, manifest, device, workers=max(0, setting.cpus - 1), ranks=ranks)
    run = start(
        spec.architecture,
        spec.recipe,
        classes=len(manifest.classes),
        channels=manifest.channels,
        seed=spec.seed,
        device=device,
        workers=ranks,
    )
    return run, splits, manifest


def _train(spec: RunSpec, setting: Setting, lease: Lease, device: torch.device, ranks: Workers) -> None:
    set_arithmetic(spec.recipe.precision)
    peak = peak_multiply_adds(device, DTYPES[spec.recipe.precision]) * ranks.size
    _reset_peak_memory(device)
    run, splits, manifest = _begin(spec, setting, device, ranks)
    folder = lease.path.parent
    checkpoint.restore(folder, spec.key, run)
    follow_rank_0(run)
    save_after = time.monotonic() + setting.checkpoint_s
    for _ in train(run, spec.recipe, spec.seed, splits.train, splits.val):
        now = time.monotonic()
        if now >= save_after:
            lease.require()
            checkpoint.write(folder, spec.key, run)
            cost = time.monotonic() - now
            save_after = now + max(setting.checkpoint_s, cost / CHECKPOINT_FRACTION)
        _report(run, lease)
    contents = {
        WEIGHTS: encode(run.network, {"key": spec.key, "size": str(manifest.size)}),
        HISTORY: encode_history(run.rows),
        GRADIENTS: encode_gradients(list(convolutions(run.network)), run.gradients),
    }
    files = [_file(name, content) for name, content in contents.items()]
    _store(contents, _record(spec, setting, manifest, run, lease.number, peak, files), lease)


def _report(run: Training, lease: Lease) -> None:
    row = run.rows[-1] if run.rows else None
    lease.update(
        iteration=run.iteration,
        seconds=run.seconds,
        train_error=row.train_top1_error_percent if row else None,
        val_error=next((r.val_top1_error_percent for r in reversed(run.rows) if r.val_loss is not None), None),
    )


def _file(name: str, content: bytes) -> File:
    return File(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _store(contents: dict[str, bytes], record: RunRecord, lease: Lease) -> None:
    """Writes the result, run.json last: from then on the run is finished. Raises Superseded and EnvironmentFault."""
    folder = lease.path.parent
    with storage_errors(folder.parent):
        for name, content in contents.items():
            lease.require()
            if not create(folder / name, content):  # of an attempt that was killed here, or of one that has overtaken
                lease.require()
                write_bytes(folder / name, content)
        lease.require()
        if not create(folder / RECORD, as_json(record)):
            raise Superseded("another attempt has finished this run; its result is kept")


def _record(
    spec: RunSpec,
    setting: Setting,
    manifest: Manifest,
    run: Training,
    attempts: int,
    peak: float,
    files: list[File],
) -> RunRecord:
    architecture = spec.architecture
    counts = count(architecture, classes=len(manifest.classes), channels=manifest.channels, size=manifest.size)
    return RunRecord(
        run=spec.name,
        key=spec.key,
        experiment=spec.experiment,
        network=spec.network,
        architecture=dataclasses.asdict(architecture),
        depth=architecture.depth,
        family=architecture.family,
        shortcut=architecture.shortcut,
        seed=spec.seed,
        status="diverged" if run.diverged else "finished",
        iterations=run.iteration,
        warm_up_ended_at=run.warm_up_ended_at,
        parameters=counts.parameters,
        multiply_adds=counts.multiply_adds,
        train_top1_error_percent=last_epoch_error(run.rows, manifest.train.images, spec.recipe.batch_size),
        val_top1_error_percent=run.rows[-1].val_top1_error_percent,
        seconds=run.seconds,
        images_per_second=run.iteration * spec.recipe.batch_size / run.seconds,
        peak_multiply_adds_per_second=peak,
        peak_mib=_peak_mib(run.device),
        device=device_name(run.device),
        threads=torch.get_num_threads(),
        workers=run.workers.size,
        versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        commit=setting.commit,
        attempts=attempts,
        recipe=dataclasses.asdict(spec.recipe),
        data_digest=manifest.digest(),
        code_digest=setting.code_digest,
        size=manifest.size,
        files=files,
    )


def device_name(device: torch.device) -> str:
    """The model of the GPU, or that of the CPU with the instruction set that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def _reset_peak_memory(device: torch.device) -> None:
    """Starts the peak of memory again: a worker process trains several runs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):  # where Linux does not allow it, the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")  # of Linux; elsewhere the memory of now
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return float(psutil.Process().memory_info().rss) / 2**20
