"""Space: shared memory for workers that decode, disk for the run store, the data and Ray's own temporary files."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.checks.line import Line, size
from pipeline.checks.nodes import Node

if TYPE_CHECKING:
    from pipeline.config.experiment import Experiment

SHM = Path("/dev/shm")  # noqa: S108 - where torch's workers hand tensors over
WHOLE = ("digits", "cifar10")  # data sets that lie on the device as a whole
DATA_BYTES = 2**30  # that a data set of ours, or its next shard, may take
TEMP_SHARE = 0.05  # of the disk: with less free, Ray refuses to start objects
COPIES = 5  # of a network: two checkpoints with weights and momentum, and the weights at the end
COMPLETE = 1000  # classes at most, in the estimate of a network's size


@dataclass(frozen=True, slots=True)
class Room:
    """Of one node, in bytes."""

    shm: int | None  # free; None where the system has none
    temp: int  # free
    temp_total: int


def look() -> Room:
    """On a node."""
    temp = shutil.disk_usage(tempfile.gettempdir())
    return Room(shutil.disk_usage(SHM).free if SHM.is_dir() else None, temp.free, temp.total)


def loader_bytes(experiment: "Experiment", node: Node) -> int:
    """Batches that wait in shared memory, when as many runs decode side by side as the node has CPUs for."""
    if experiment.data.dataset in WHOLE:
        return 0
    from pipeline.loading.shards import PREFETCH
    from resnet.views import SIZE

    cpus = experiment.resources.cpus
    batch = max(run.recipe.batch_size for run in experiment.runs) * 3 * SIZE * SIZE
    return int(node.cpus // cpus) * max(0, cpus - 1) * PREFETCH * batch


def store_bytes(experiments: "Sequence[Experiment]") -> int:
    """What the run store may have to hold when all runs are under way at once."""
    from resnet.counting import count

    runs = {(run.architecture, run.seed, run.recipe) for experiment in experiments for run in experiment.runs}
    parameters = {a: count(a, classes=COMPLETE, size=224).parameters for a in {run[0] for run in runs}}
    return sum(COPIES * 4 * parameters[architecture] for architecture, _, _ in runs)


def of_node(node: Node, seen: Room, experiments: "Sequence[Experiment]") -> Iterator[Line]:
    """The doctor's, for one node."""
    need = max((loader_bytes(experiment, node) for experiment in experiments), default=0)
    what = f"shared memory on {node.name}"
    if seen.shm is None:
        yield Line(what, "not this system's way")
    elif seen.shm < need:
        mend = "give the container more (docker run --shm-size), or lower resources.cpus"
        yield Line(what, f"{size(seen.shm)} free, DataLoader workers need {size(need)}", mend)
    else:
        yield Line(what, f"{size(seen.shm)} free, DataLoader workers need {size(need)}")
    share = f"{size(seen.temp)} of {size(seen.temp_total)} free"
    mend = (
        "free some, or start Ray with --temp-dir on a larger disk" if seen.temp < TEMP_SHARE * seen.temp_total else ""
    )
    yield Line(f"temporary files on {node.name}", share, mend)


def of_folder(what: str, folder: Path, need: int) -> Line:
    """Free space where `folder` is, or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{size(free)} free in {there}, may take {size(need)}"
    return Line(what, text, "free some, or name a folder on a larger disk" if free < need else "")
