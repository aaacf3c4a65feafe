"""A run as it goes to a worker, and the events that come back."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.experiment import RunSpec
from pipeline.store.records import Manifest, RunRecord
from pipeline.store.slots import Slot
from resnet.history import Row
from resnet.roofline import FORWARD_AND_BACKWARD


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
    def parallel(self) -> bool:
        """Whether several workers train it."""
        return self.spec.recipe.workers > 1

    @property
    def work(self) -> int:
        """Multiply-adds of the whole run, to start the longest first."""
        spec = self.spec
        return multiply_adds(self) * FORWARD_AND_BACKWARD * spec.recipe.iterations * spec.recipe.batch_size


@dataclass(frozen=True, slots=True)
class Began:
    key: str
    device: str
    peak: float  # multiply-adds a second of the workers' devices in a matrix product, in the recipe's precision
    iteration: int  # from which it goes on
    seconds: float  # of training, over all attempts, as in the rows
    rows: list[Row]
    advice: str = ""  # what would make it faster, if anything


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


@dataclass(frozen=True, slots=True)
class Left:
    """It was asked to leave its worker, and has, with a checkpoint; it goes on elsewhere."""

    key: str
    iteration: int  # of the checkpoint
    why: str  # what it leaves, for people


Event = Began | Advanced | Ended | Elsewhere | Left


def multiply_adds(job: Job) -> int:
    from resnet.counting import count  # needs torch

    m = job.manifest
    return count(job.spec.architecture, classes=len(m.classes), channels=m.channels, size=m.size).multiply_adds
