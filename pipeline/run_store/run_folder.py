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
    """A run's folder in the run store, which need not exist yet."""

    path: Path

    @property
    def finished(self) -> bool:
        """Whether the run has ended, trained or diverged. Raises EnvironmentFault."""
        with storage_errors(self.path.parent):
            return (self.path / RECORD).is_file()

    def record(self) -> RunRecord:
        """The finished run. Raises UserError where the record or the weights are damaged."""
        with storage_errors(self.path.parent):
            record = read(RunRecord, self.path / RECORD, f"rm -r {self.path}, and train again")
            check_weights(self.path, record.weights)
        return record

    def rows(self) -> list[Row]:
        """The history of a finished run, or that in the newest checkpoint."""
        if self.finished:
            return read_history(self.local(HISTORY) / HISTORY)
        return checkpoint.newest_rows(self.path)

    def local(self, *names: str) -> Path:
        """A local folder with these files, which exists until this process ends."""
        with storage_errors(self.path.parent):
            return local_copy(self.path, *names)

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
        """Links a finished run's files into the new folder `target`, or copies them where links are not possible.

        run.json is written with the names that this experiment has for the run: run keys contain no names, so two
        experiments may share a run.
        """
        target.mkdir(parents=True)
        record = self.record()
        with storage_errors(self.path.parent):
            for name in PUBLISHED:
                try:
                    fetch(self.path / name, target / name)
                except FileNotFoundError:
                    raise UserError(f"{self.path / name}: not found; train the run again with --fresh") from None
        if is_remote(self.path):
            check_weights(target, record.weights)
        names = {"run": spec.name, "experiment": spec.experiment, "network": spec.network}
        write_json(target / RECORD, record.model_copy(update=names))


def check_weights(folder: Path, weights: File) -> Path:
    """The path of the weights, compared with their record. Raises UserError.

    In a bucket only the size is compared; the digest is compared after the download.
    """
    path = folder / weights.path
    same = path.is_file() and path.stat().st_size == weights.bytes
    if not same or not (is_remote(path) or sha256(path) == weights.sha256):
        raise UserError(f"{path}: not what the run wrote; train it again with --fresh")
    return path
