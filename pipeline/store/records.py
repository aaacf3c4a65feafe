"""The files that the stages hand on, as types: manifest.json, run.json, results and how they are written."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import EnvironmentFault, UserError
from pipeline.storage.paths import write_bytes as write_bytes
from pipeline.storage.storage_faults import ADVICE

T = TypeVar("T", bound=BaseModel)
DISK = ADVICE | {errno.EIO: "see what is wrong with the disk"}
TOP5_FROM = 100  # classes from which on a top-5 error has a meaning; with ten, five guesses say little


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(Record):
    path: str  # relative to the manifest
    bytes: int
    sha256: str


class SplitInfo(Record):
    """One split. `arrays`: NAME.images.npy (N, C, H, W) uint8 and NAME.labels.npy (N,) int64. `shards`: Arrow IPC files
    with the columns `image` (the encoded file), `label` (int64) and `name` (where it came from)."""

    images: int
    per_class: dict[str, int]  # class name -> images
    files: list[File]


class Manifest(Record):
    """data/<experiment>/manifest.json, written last: what the data are, to the byte."""

    dataset: str
    storage: Literal["arrays", "shards"]
    classes: list[str]
    channels: int
    size: int  # height and width of what a network sees, in pixels
    train: SplitInfo
    val: SplitInfo
    test: SplitInfo | None  # None where nobody has labels (ImageNet)
    mean: File  # mean.npy, (C, H, W) float32: the per-pixel mean of the training split, in units of a byte
    colour: File | None = (
        None  # colour.npy, (2, 3, 3) float32: eigenvectors (columns) and, on the diagonal, eigenvalues
    )
    conversions: dict[str, int] = {}  # how many images were converted to RGB, by their mode
    source: str  # where it came from, for people; no path of a machine

    def digest(self) -> str:
        """SHA-256 of all that decides a run's outcome: not of where the data came from."""
        content = self.model_dump(mode="json", exclude={"source"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class RunRecord(Record):
    """run.json: a finished run."""

    run: str
    key: str
    experiment: str
    network: str
    architecture: dict[str, Any]
    depth: int
    family: str
    shortcut: str
    seed: int
    status: Literal["finished", "diverged"]
    iterations: int  # done; fewer than the recipe's where the run diverged
    warm_up_ended_at: int | None
    parameters: int
    multiply_adds: int  # of one forward pass of one image
    train_top1_error_percent: float  # augmented batches of the last epoch (or of all, where there was less than one)
    val_top1_error_percent: float | None
    seconds: float  # in training iterations, over all attempts
    images_per_second: float
    # of a matrix product in the recipe's precision, by the worker before it trained: what the shares of the roofline
    # in the progress table, in MLflow and in the report refer to; None in records of before it was measured
    peak_multiply_adds_per_second: float | None = None
    peak_mib: float  # device memory on a GPU, resident memory of the worker on a CPU
    device: str
    threads: int  # of each worker
    workers: int = 1  # that trained it together, the last of its attempts
    # finished iterations, and how many workers went on from there; nothing in records of before it was written down
    world_sizes: list[tuple[int, int]] = []
    versions: dict[str, str]
    commit: str | None  # of the checkout that trained it
    attempts: int
    recipe: dict[str, Any]
    data_digest: str
    code_digest: str
    weights: File


class SplitErrors(Record):
    images: int
    top1_errors: int
    top5_errors: int | None  # None where top-5 has no meaning (fewer than 100 classes)
    loss: float | None  # mean cross-entropy; None where it is not finite


class Analysis(Record):
    """What was measured inside a trained network, in the order of its layers (Fig. 7, and the claims about gradients,
    lesions and noise). Names are those of the state dict; images are the first of the validation split."""

    images: int
    responses: dict[str, float]  # 3x3 layer -> s.d. of its output after batch norm, before ReLU and addition
    variances_at_start: dict[str, float]  # convolution -> variance of its output before batch norm, initial weights
    variances: dict[str, float]  # the same of the trained network
    lesions: dict[str, float]  # block -> top-1 error in per cent when that block alone is left out
    noise: dict[str, float]  # s.d. of Gaussian noise in units of the pixels' range, as text -> top-1 error in per cent


class RunResult(Record):
    """results/<experiment>/<run>.json: what the evaluate stage measured on the final weights."""

    run: str
    key: str
    protocol: str  # "single view", "1-crop 224"
    train: SplitErrors  # without augmentation
    val: SplitErrors
    test: SplitErrors | None
    protocols: dict[str, SplitErrors] = {}  # other protocols on the headline split: "10-crop", "multi-scale", ...
    top1_change_points: float | None = None  # of the one view, by the protocols' precision; None where that is fp32
    analysis: Analysis | None = None
    images_per_second: float
    peak_multiply_adds_per_second: float | None = None  # as in the run's record, which may not have it
    device: str


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path, base: Path) -> File:
    """A file as the manifest names it."""
    return File(path=path.relative_to(base).as_posix(), bytes=path.stat().st_size, sha256=sha256(path))


def as_json(content: Any) -> bytes:
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    write_bytes(path, as_json(content))


def read(kind: type[T], path: Path, made_by: str) -> T:
    """A record from its file. Raises UserError with the command that makes it."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not there; make it with: {made_by}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; make it again with: {made_by}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = ": ".join([*([".".join(map(str, first["loc"]))] if first["loc"] else []), first["msg"]]).splitlines()[0]
        raise UserError(f"{path}: damaged ({what}); make it again with: {made_by}") from None


@contextmanager
def _disk_faults(target: Path) -> Iterator[None]:
    """As one line: whatever else is wrong with a file is a matter of its own."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        mend = f"{DISK[error.errno]}, and give the same command again; what was there is as it was"
        raise EnvironmentFault(f"{target}: {os.strerror(error.errno)}; {mend}") from None


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `target` when the block ends without an error, and is gone otherwise.

    The old content is there until then, and a stage that fails leaves it untouched. What a killed process left
    beside it is removed, and an old folder that it had already moved aside is put back. Raises EnvironmentFault where
    the disk does not take it.
    """
    with _disk_faults(target):
        yield from _replacing(target)


def _replacing(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    _tidy(target)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", suffix=".new", dir=target.parent))
    old = fresh.with_suffix(".old")
    try:
        yield fresh
        fresh.chmod(0o755)
        if target.exists():
            os.rename(target, old)
        os.rename(fresh, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _tidy(target: Path) -> None:
    """Puts right what processes that are gone left in the middle of `replacing`."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.[^.]+\.(new|old)")
    for left in sorted(target.parent.iterdir()):
        match = pattern.fullmatch(left.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        if match[2] == "old" and not target.exists():
            os.rename(left, target)
        else:
            shutil.rmtree(left, ignore_errors=True)
