"""The run store: one folder a key, outside of DVC's outputs, so that nothing finished is ever lost.

.runs/<key>/lock                  held by the worker that trains the run; the kernel frees it when that dies
            checkpoint-00000420   the last two states of a run that is under way
            history.csv  gradients.csv  weights.safetensors  run.json     a finished run; run.json comes last
"""

import csv
import dataclasses
import fcntl
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from pipeline import gradients
from pipeline.config import RunSpec
from pipeline.errors import EnvironmentFault, UserError
from pipeline.records import File, RunRecord, read, sha256, write_bytes, write_json
from resnet.training import Row

PUBLISHED = ("history.csv", gradients.NAME, "weights.safetensors")  # beside run.json, which is written anew
COLUMNS = [field.name for field in dataclasses.fields(Row)]


class Busy(Exception):
    """Another process trains this key now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """The place of one key."""

    folder: Path

    @property
    def finished(self) -> bool:
        return (self.folder / "run.json").is_file()

    def record(self) -> RunRecord:
        """The finished run. Raises UserError where the record or the weights are damaged."""
        record = read(RunRecord, self.folder / "run.json", f"rm -r {self.folder}, and train again")
        check_weights(self.folder, record.weights)
        return record

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Alone with the key, or Busy at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy from None
            yield

    def tidy(self) -> None:
        """Removes what killed processes left half-written. For the holder of the lock."""
        for name in ("checkpoint-*", *PUBLISHED, "run.json"):
            for path in self.folder.glob(f".{name}.*.tmp"):
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forgets the run, finished or under way (`--fresh`). Raises Busy."""
        with self.lock():
            (self.folder / "run.json").unlink(missing_ok=True)  # first: what is half-gone is not a finished run
            for path in self.folder.iterdir():
                if path.name != "lock":
                    path.unlink()


def open_store(storage: str) -> Path:
    """The store's folder, made and seen to be writable. Raises EnvironmentFault."""
    folder = Path(storage).absolute()
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EnvironmentFault(
            f"storage {storage}: {error.strerror}; set `storage` to a folder you can write"
        ) from None
    return folder


def check_weights(folder: Path, weights: File) -> Path:
    """The weights' file, seen to be the one that was written. Raises UserError."""
    path = folder / weights.path
    if not path.is_file() or sha256(path) != weights.sha256:
        raise UserError(f"{path}: not what the run wrote; train it again with --fresh")
    return path


def publish(slot: Slot, spec: RunSpec, target: Path) -> None:
    """Links a finished run's files into `target`, or copies them where links are not to be had.

    run.json is written anew with the names that this experiment has for the run: keys know no names, so two
    experiments may share one.
    """
    target.mkdir(parents=True)
    for name in PUBLISHED:
        try:
            os.link(slot.folder / name, target / name)
        except FileNotFoundError:
            raise UserError(f"{slot.folder / name}: not there; train it again with --fresh") from None
        except OSError:  # another file system
            shutil.copy2(slot.folder / name, target / name)
    names = {"run": spec.name, "experiment": spec.experiment, "network": spec.network}
    write_json(target / "run.json", slot.record().model_copy(update=names))


def write_history(path: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(["" if value is None else value for value in dataclasses.astuple(row)])
    write_bytes(path, text.getvalue().encode())


def read_history(path: Path) -> list[Row]:
    """history.csv. Raises UserError where it is damaged."""
    try:
        with path.open(newline="") as file:
            lines = csv.DictReader(file)
            if lines.fieldnames != COLUMNS:
                raise ValueError("other columns")
            return [Row(**{name: _value(name, text) for name, text in line.items()}) for line in lines]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; link it again with: dvc repro -f train@EXPERIMENT") from None
    except (TypeError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); link it again with: dvc repro -f train@EXPERIMENT") from None


_TYPES = get_type_hints(Row)


def _value(name: str, text: str) -> Any:
    if text == "" and _TYPES[name] == float | None:
        return None
    return int(text) if _TYPES[name] is int else float(text)
