"""Images as Arrow IPC shards: written as a stream, the same bytes for any number of processes."""

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault, UserError
from pipeline.store.records import File, describe

SHARD = 256_000_000  # bytes of images in a file, unless one image alone has more
BATCH_ROWS = 256  # images that are held in memory at once, and
BATCH_BYTES = 32_000_000  # their bytes
PARALLEL_FROM = 2_000  # images; below, starting processes takes longer than the work
CHUNK = 64  # images of one task

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One image to be packed."""

    path: str
    name: str
    label: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """One shard: what a process needs to write it."""

    path: Path
    entries: list[Entry]


@contextmanager
def processes(workers: int) -> Iterator[Map]:
    """`map` over so many processes; 1 stays in this one. Raises EnvironmentFault where one dies (out of memory)."""
    if workers <= 1:
        yield map
        return
    start = "fork" if sys.platform == "linux" else "spawn"  # forks share what is imported; no thread works here yet
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(start))
    try:
        yield pool.map
    except BrokenProcessPool:
        raise EnvironmentFault(f"one of {workers} processes was killed, perhaps for memory; run it again") from None
    finally:
        pool.shutdown(cancel_futures=True)


def workers_for(images: int) -> int:
    """All cores for a large tree."""
    if images < PARALLEL_FROM:
        return 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def jobs(folder: Path, split: str, entries: list[Entry]) -> list[Job]:
    """Cuts a split, in its order, into shards. Decided before anything is written, so the same for any machine."""
    cut: list[list[Entry]] = []
    room = 0
    for entry in entries:
        if not cut or entry.bytes > room:
            cut.append([])
            room = SHARD
        cut[-1].append(entry)
        room -= entry.bytes
    return [Job(folder / f"{split}-{i:05d}.arrow", part) for i, part in enumerate(cut)]


def pack(job: Job) -> File:
    """Writes one shard with the columns `image` (the file's bytes), `label` and `name`, and describes it."""
    import pyarrow as pa

    schema = pa.schema([("image", pa.large_binary()), ("label", pa.int64()), ("name", pa.string())])
    with pa.OSFile(str(job.path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for rows in _batches(job.entries):
            columns = [
                pa.array([content(entry) for entry in rows], pa.large_binary()),
                pa.array([entry.label for entry in rows], pa.int64()),
                pa.array([entry.name for entry in rows], pa.string()),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return describe(job.path, job.path.parent)


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    rows: list[Entry] = []
    size = 0
    for entry in entries:
        if rows and (len(rows) == BATCH_ROWS or size + entry.bytes > BATCH_BYTES):
            yield rows
            rows, size = [], 0
        rows.append(entry)
        size += entry.bytes
    if rows:
        yield rows


def content(entry: Entry) -> bytes:
    """The bytes that were checked. Raises UserError where the file has changed since."""
    try:
        with open(entry.path, "rb") as file:
            found = file.read(entry.bytes + 1)
    except OSError as error:
        raise UserError(f"{entry.path}: {error.strerror} while it was packed; run the stage again") from None
    if hashlib.sha256(found).hexdigest() != entry.sha256:
        raise UserError(f"{entry.path}: changed while it was packed; run the stage again")
    return found
