"""The run store: one folder a key, outside of DVC's outputs, so that nothing finished is ever lost.

.runs/<key>/lock                  held by the worker that trains the run (pipeline.storage.locks)
            attempt-000001        one for each attempt at it; the highest may write (pipeline.storage.attempts)
            checkpoint-00000420   the last two states of a run that is under way
            history.csv  gradients.csv  weights.safetensors  run.json     a finished run; run.json comes last
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.experiment import RunSpec
from pipeline.errors import EnvironmentFault, UserError
from pipeline.storage import attempts, bucket, locks, paths
from pipeline.storage.locks import Busy as Busy
from pipeline.storage.storage_faults import told
from pipeline.store import gradients
from pipeline.store.records import File, Record, RunRecord, read, sha256, write_json

PUBLISHED = ("history.csv", gradients.NAME, "weights.safetensors")  # beside run.json, which is written anew


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """The place of one key."""

    folder: Path

    @property
    def finished(self) -> bool:
        with told(self.folder.parent):
            return (self.folder / "run.json").is_file()

    def record(self) -> RunRecord:
        """The finished run. Raises UserError where the record or the weights are damaged."""
        with told(self.folder.parent):
            record = read(RunRecord, self.folder / "run.json", f"rm -r {self.folder}, and train again")
            check_weights(self.folder, record.weights)
        return record

    def at_hand(self) -> Path:
        """The finished run's history.csv and run.json in a folder, which is there while this process is."""
        with told(self.folder.parent):
            return paths.at_hand(self.folder, "history.csv", "run.json")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Alone with the key, or Busy at once. Raises EnvironmentFault."""
        with contextlib.ExitStack() as stack:
            with told(self.folder.parent):
                stack.enter_context(locks.held(self.folder))
            yield

    def begin(self) -> attempts.Attempt:
        """The next attempt at the run, for the holder of the lock. Raises EnvironmentFault."""
        with told(self.folder.parent):
            self.tidy()
            return attempts.begin(self.folder)

    def tidy(self) -> None:
        """Removes what killed processes left half-written. For the holder of the lock."""
        for name in ("checkpoint-*", "attempt-*", *PUBLISHED, "run.json"):
            for path in self.folder.glob(f".{name}.*.tmp"):
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forgets the run, finished or under way (`--fresh`). Raises Busy."""
        with self.lock(), told(self.folder.parent):
            (self.folder / "run.json").unlink(missing_ok=True)  # first: what is half-gone is not a finished run
            for path in list(self.folder.iterdir()):
                if not locks.is_lock(path):
                    path.unlink()


def open_store(place: str) -> Path:
    """The store's path, made where it is a folder, and seen to be writable. Raises EnvironmentFault."""
    folder = paths.locate(place)
    if paths.is_remote(folder):
        bucket.probe(folder)
        return folder
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EnvironmentFault(f"storage {place}: {error.strerror}; set `storage` to a folder you can write") from None
    return folder


def keep(path: Path, result: Record) -> None:
    """Beside a run: what was measured on it. Raises EnvironmentFault."""
    with told(path.parent.parent):
        paths.make_folder(path.parent)
        write_json(path, result)


def check_weights(folder: Path, weights: File) -> Path:
    """The weights' file, seen to be the one that was written. Raises UserError.

    In a bucket by its size: an object is whole or not there, and its digest is seen to when it has been fetched.
    """
    path = folder / weights.path
    same = path.is_file() and path.stat().st_size == weights.bytes
    if not same or not (paths.is_remote(path) or sha256(path) == weights.sha256):
        raise UserError(f"{path}: not what the run wrote; train it again with --fresh")
    return path


def publish(slot: Slot, spec: RunSpec, target: Path) -> None:
    """Links a finished run's files into `target`, or copies them where links are not to be had.

    run.json is written anew with the names that this experiment has for the run: keys know no names, so two
    experiments may share one.
    """
    target.mkdir(parents=True)
    with told(slot.folder.parent):
        record = slot.record()
        for name in PUBLISHED:
            try:
                paths.fetch(slot.folder / name, target / name)
            except FileNotFoundError:
                raise UserError(f"{slot.folder / name}: not there; train it again with --fresh") from None
    if paths.is_remote(slot.folder):
        check_weights(target, record.weights)
    names = {"run": spec.name, "experiment": spec.experiment, "network": spec.network}
    write_json(target / "run.json", record.model_copy(update=names))
