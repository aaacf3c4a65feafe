"""The files that one stage hands to the next, as types: manifest.json, run.json, results; and how they are written."""

import base64
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import EnvironmentFault, UserError
from pipeline.storage import ADVICE, write_bytes
from resnet.history import IdentityCopy

T = TypeVar("T", bound=BaseModel)
TOP5_FROM = 100  # classes from which on a top-5 error has a meaning; with ten, five guesses say little


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sealed(Record):
    """A record that decides verdicts. `as_json` writes its digest, `read` refuses it where that is another one."""

    digest: str = ""  # SHA-256 of all other fields as canonical JSON; of no meaning in a copy that was not written

    def sealed(self) -> Self:
        """Returns the record with the digest of its content."""
        return self.model_copy(update={"digest": _digest(self.model_dump(mode="json", exclude={"digest"}))})


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class File(Record):
    path: str  # relative to the folder of the record that names it
    bytes: int
    sha256: str


class SplitInfo(Record):
    """One split. `arrays`: NAME.images.npy (N, C, H, W) uint8 and NAME.labels.npy (N,) int64. `shards`: Arrow IPC files
    with the columns `image` (the encoded file), `label` (int64) and `name` (its path in the source)."""

    images: int
    per_class: dict[str, int]  # class name -> images
    files: list[File]


class Manifest(Record):
    """data/<experiment>/manifest.json, written last: the exact content of the prepared data."""

    dataset: str
    storage: Literal["arrays", "shards"]
    classes: list[str]
    channels: int
    size: int  # height and width of what a network sees, in pixels
    train: SplitInfo
    val: SplitInfo
    test: SplitInfo | None  # None where its labels are not public (ImageNet)
    mean: File  # mean.npy, (C, H, W) float32: the per-pixel mean of the training split, in units of a byte
    colour: File | None = None  # colour.npy, (2, 3, 3) float32: eigenvectors (columns), eigenvalues on the diagonal
    conversions: dict[str, int] = {}  # mode -> images that were converted from it to RGB
    source: str  # where the data came from, for readers; no path of a machine

    def digest(self) -> str:
        """SHA-256 of all that decides a run's outcome, which the source does not."""
        return _digest(self.model_dump(mode="json", exclude={"source"}))


class RunRecord(Sealed):
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
    iterations: int  # finished ones; fewer than the recipe's where the run diverged
    warm_up_ended_at: int | None
    parameters: int
    multiply_adds: int  # of one forward pass of one image
    train_top1_error_percent: float  # augmented batches of the last epoch, or of the second half if that is less
    val_top1_error_percent: float | None
    seconds: float  # in training iterations, over all attempts
    images_per_second: float
    # of a matrix product in the recipe's precision, measured by the worker before it trained: the roofline
    peak_multiply_adds_per_second: float
    peak_mib: float  # device memory on a GPU, resident memory of the worker on a CPU
    device: str
    threads: int  # of each worker
    workers: int  # processes that trained it together
    versions: dict[str, str]
    commit: str | None  # git revision of the code that trained it
    attempts: int
    recipe: dict[str, Any]
    data_digest: str
    code_digest: str
    size: int  # height and width of the images, in pixels
    files: list[File]  # all others of the run: history, gradients, weights

    def file(self, name: str) -> File:
        """Returns what the record says of a file of the run. Raises KeyError."""
        return {file.path: file for file in self.files}[name]


class SplitErrors(Record):
    images: int
    top1_errors: int
    top5_errors: int | None  # None where top-5 has no meaning (fewer than 100 classes)
    loss: float | None  # mean cross-entropy; None where it is not finite
    wrong: str | None = None  # the top-1 errors among the images in their order, as `packed`; None where not stored

    def mask(self) -> NDArray[np.bool_] | None:
        """Returns which images are top-1 errors; None where that is not stored."""
        if self.wrong is None:
            return None
        bits = np.frombuffer(base64.b64decode(self.wrong), np.uint8)
        return np.unpackbits(bits, count=self.images).astype(np.bool_)


def packed(mask: NDArray[np.bool_]) -> str:
    """Returns one bit an image as text: base64 of `numpy.packbits`, 8 kB for ImageNet's 50,000 images."""
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


class Analysis(Record):
    """Measurements inside a trained network, in the order of its layers (Fig. 7, and claims about gradients, lesions
    and noise). Names are those of the state dict; images are the first of the validation split."""

    images: int
    responses: dict[str, float]  # 3x3 layer -> s.d. of its output after batch norm, before ReLU and addition
    variances_at_start: dict[str, float]  # convolution -> variance of its output before batch norm, initial weights
    variances: dict[str, float]  # the same of the trained network
    lesions: dict[str, float]  # block -> top-1 error in per cent without that block
    noise: dict[str, float]  # s.d. of Gaussian noise in units of the pixels' range, as text -> top-1 error in per cent
    identity: list[IdentityCopy] = []  # one for each deeper plain network of the experiment, otherwise the same


class RunResult(Sealed):
    """results/<experiment>/<run>.json: the errors of a run's final weights."""

    run: str
    key: str
    protocol: str  # "single view", "1-crop 224"
    train: SplitErrors  # without augmentation
    val: SplitErrors  # with `wrong`, as is `test`
    test: SplitErrors | None
    protocols: dict[str, SplitErrors] = {}  # other protocols on the headline split: "10-crop", "multi-scale", ...
    top1_change_points: float | None = None  # single view: protocols' precision minus fp32; None where that is fp32
    analysis: Analysis | None = None
    images_per_second: float
    peak_multiply_adds_per_second: float
    device: str


class Ensemble(Sealed):
    """Networks whose probabilities are averaged (Table 5)."""

    members: dict[str, str]  # run -> its key
    protocols: dict[str, SplitErrors]  # "single view" or "1-crop 224", and those that `evaluation` names


class Ensembles(Sealed):
    """results/<experiment>/ensemble.json. Each run is in at most one ensemble, so their spread is one over seeds."""

    networks: list[str]  # rows of params.yaml, as in `evaluation.ensemble`
    split: Literal["val", "test"]
    ensembles: list[Ensemble]


class PilotRun(Record):
    """One run of a pilot: a network with a learning rate of the grid and a pilot seed."""

    network: str
    lr: float
    seed: int
    loss: float | None  # training loss over the last tenth of the iterations; None where the run diverged
    diverged: bool
    key: str


class Look(Record):
    """A look at the headline of a registered experiment."""

    seeds: int  # of each network
    verdicts: dict[str, str]  # headline claim -> verdict
    commit: str | None


class Registration(Record):
    """registrations/<experiment>.json: an experiment and the rules of its verdicts, fixed before its first run."""

    format: Literal[1] = 1
    experiment: str
    section: dict[str, Any]  # of params.yaml, as checked, without what decides no result
    digests: dict[str, str]  # SHA-256 of the section, the rules, the code that decides a run's result, and the data
    commit: str | None
    rates: dict[str, float] = {}  # network -> learning rate that the pilot chose
    pilot: list[PilotRun] = []
    log: list[Look] = []


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path, base: Path) -> File:
    """A file as a record names it: relative to `base`, with size and digest."""
    return File(path=path.relative_to(base).as_posix(), bytes=path.stat().st_size, sha256=sha256(path))


def as_json(content: Any) -> bytes:
    """A record, sealed, or plain values, as indented JSON; raises ValueError for numbers that are not finite."""
    if isinstance(content, Sealed):
        content = content.sealed()
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """Writes `as_json(content)` atomically."""
    write_bytes(path, as_json(content))


def read(kind: type[T], path: Path, made_by: str) -> T:
    """A record from its file. Raises UserError, with the command that makes it, where it is missing or was changed."""
    try:
        record = kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make it with: {made_by}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = ": ".join([*([".".join(map(str, first["loc"]))] if first["loc"] else []), first["msg"]]).splitlines()[0]
        raise UserError(f"{path}: damaged ({what}); make it again with: {made_by}") from None
    if isinstance(record, Sealed) and record.digest != record.sealed().digest:
        raise UserError(f"{path}: changed after it was written (another digest); make it again with: {made_by}")
    return record


@contextmanager
def replacing(target: Path, *, read_only: bool = False) -> Iterator[Path]:
    """A new folder that replaces `target` when the block ends without an error, and is removed otherwise.

    With `read_only` its files lose every permission to write; the folder may still be replaced and deleted.
    Until then `target` keeps its old content. What a killed process left next to it is removed, and an old folder that
    it had moved away is moved back. Raises EnvironmentFault for errors of the disk.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(target)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", suffix=".new", dir=target.parent))
        old = fresh.with_suffix(".old")
        try:
            yield fresh
            for path in fresh.rglob("*") if read_only else ():
                path.chmod(0o755 if path.is_dir() else 0o444)
            fresh.chmod(0o755)
            if target.exists():
                os.rename(target, old)
            os.rename(fresh, target)
        finally:
            if old.exists() and not target.exists():
                os.rename(old, target)
            for left in (fresh, old):
                shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        advice = f"{ADVICE[error.errno]}, and run the same command again; the old content is unchanged"
        raise EnvironmentFault(f"{target}: {os.strerror(error.errno)}; {advice}") from None


def _clean_up(target: Path) -> None:
    """Finishes or undoes interrupted replacements of processes that no longer exist."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.[^.]+\.(new|old)")
    for left in sorted(target.parent.iterdir()):
        match = pattern.fullmatch(left.name)
        if match is None or psutil.pid_exists(int(match[1])):
            continue
        if match[2] == "old" and not target.exists():
            os.rename(left, target)
        else:
            shutil.rmtree(left, ignore_errors=True)
