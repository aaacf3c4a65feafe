"""The folder of one run in the run store.

<storage>/<key>/lease-000001           the attempt that may write (pipeline.run_store.lease)
               checkpoint-000000420    the last two states of a run that is not finished
               history.csv  gradients.csv  weights.safetensors  run.json     a finished run; run.json is written last
               evaluation-<digest>.json  ensemble-<digest>.json              what was measured of it
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import RunSpec
from pipeline.errors import UserError
from pipeline.paths import RUNS
from pipeline.records import File, RunRecord, read, sha256, write_json
from pipeline.run_store import checkpoint, lease
from pipeline.run_store.tables import GRADIENTS, HISTORY, read_history
from pipeline.storage import fetch, is_remote, local_copy, storage_errors
from resnet.history import Row

RECORD = "run.json"
WEIGHTS = "weights.safetensors"
PUBLISHED = (HISTORY, GRADIENTS, WEIGHTS)  # next to run.json, which is rewritten


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder in the run store, which need not exist yet, or its copy in runs/."""

    path: Path
    key: str = ""  # by default the folder's name, as in the run store
    made_by: str = ""  # the command that makes it again, by default for a folder of the run store

    @property
    def remedy(self) -> str:
        """What makes a damaged run again."""
        return self.made_by or f"rm -r {self.path}, and train again"

    @property
    def finished(self) -> bool:
        """Whether the run has ended, trained or diverged. Raises EnvironmentFault."""
        with storage_errors(self.path.parent):
            return (self.path / RECORD).is_file()

    def record(self) -> RunRecord:
        """The finished run. Raises UserError where it is of another key, or a file is not what the record says."""
        key = self.key or self.path.name
        with storage_errors(self.path.parent):
            record = read(RunRecord, self.path / RECORD, self.remedy)
            if record.key != key:
                what = f"of other parameters, data or code (key {record.key[:12]}, not {key[:12]})"
                raise UserError(f"{self.path / RECORD}: {what}; make it again with: {self.remedy}")
            for file in record.files:
                checked(self.path, file, self.remedy)
        return record

    def rows(self) -> list[Row]:
        """The history of a finished run, or that in the newest checkpoint."""
        return self.history(self.record()) if self.finished else checkpoint.newest_rows(self.path)

    def history(self, record: RunRecord) -> list[Row]:
        """The history of a finished run. Raises UserError where it is not what the record says."""
        return read_history(self.local(record, HISTORY))

    def local(self, record: RunRecord, name: str) -> Path:
        """A file of the finished run, where needed as a download that exists until this process ends."""
        with storage_errors(self.path.parent):
            return checked(local_copy(self.path, name), record.file(name), self.remedy)

    def remove_temporary_files(self) -> None:
        """Removes what killed processes left half-written. For the holder of the lease."""
        with storage_errors(self.path.parent):
            for name in ("checkpoint-*", RECORD, *PUBLISHED):
                for path in self.path.glob(f".{name}.*.tmp"):
                    path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the run, finished or not (`--fresh`). Raises Busy where a worker trains it."""
        with lease.acquire(self.path), storage_errors(self.path.parent):
            (self.path / RECORD).unlink(missing_ok=True)  # first, so that a half-removed run is not a finished one
            for path in list(self.path.iterdir()):
                if not lease.is_lease(path):
                    path.unlink(missing_ok=True)

    def publish(self, spec: RunSpec, target: Path) -> None:
        """Copies a finished run's files into the new folder `target`. Raises UserError where they are damaged.

        run.json is written with the names that this experiment has for the run: run keys contain no names, so two
        experiments may share a run.
        """
        target.mkdir(parents=True)
        record = self.record()
        with storage_errors(self.path.parent):
            for file in record.files:
                fetch(self.path / file.path, target / file.path)
                checked(target, file, self.remedy)
        names = {"run": spec.name, "experiment": spec.experiment, "network": spec.network}
        write_json(target / RECORD, record.model_copy(update=names))


def published(spec: RunSpec, root: Path) -> RunFolder:
    """The copy of a run that the checkout `root` has, or would have."""
    folder = root / RUNS / spec.experiment / spec.name
    return RunFolder(folder, spec.key, f"python -m pipeline train {spec.experiment}")


def checked(folder: Path, file: File, made_by: str) -> Path:
    """The path of a run's file, compared with its record. Raises UserError.

    In a bucket only the size is compared; the digest is compared after the download.
    """
    path = folder / file.path
    same = path.is_file() and path.stat().st_size == file.bytes
    if not same or not (is_remote(path) or sha256(path) == file.sha256):
        raise UserError(f"{path}: not what the run wrote; make it again with: {made_by}")
    return path
