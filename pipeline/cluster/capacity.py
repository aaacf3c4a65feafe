"""What the cluster has, and what a run takes of it. Runs that it can never hold are refused before any is trained."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.config import Experiment, RunSpec
from pipeline.errors import EnvironmentFault, UserError
from resnet.architectures import EXPANSION

MIN_CHANNELS = 16  # see check_device


@dataclass(frozen=True, slots=True)
class Capacity:
    """CPUs and GPUs of each node of the cluster, free or taken."""

    nodes: tuple[tuple[float, float], ...]
    local: bool  # this machine alone, for this process alone

    @property
    def cpus(self) -> float:
        return sum(cpus for cpus, _ in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(gpus for _, gpus in self.nodes)

    def slots(self, cpus: float, gpus: float) -> int:
        """How many workers it holds at once; a worker is on one node."""
        return sum(math.floor(min(c / cpus, g / gpus if gpus else math.inf) + 1e-9) for c, g in self.nodes)

    def __str__(self) -> str:
        kind = "this machine" if self.local else f"cluster of {len(self.nodes)} nodes"
        return f"{kind}, {self.cpus:g} CPUs, {self.gpus:g} GPUs"


def gpu_fraction(capacity: Capacity, experiment: Experiment, *, in_memory: bool) -> float:
    """GPUs of one run. Raises EnvironmentFault where the cluster can never hold the run.

    `auto` is none without GPUs, a quarter for data that are on the device as a whole (such networks leave most of a GPU
    idle), and otherwise a whole one.
    """
    resources = experiment.resources
    gpus = resources.gpus
    if gpus == "auto":
        gpus = 0.0 if capacity.gpus == 0 else 0.25 if in_memory else 1.0
    where = f"params.yaml: {experiment.name}.resources"
    for name, needed, available in (("cpus", resources.cpus, capacity.cpus), ("gpus", gpus, capacity.gpus)):
        if needed > available:
            raise EnvironmentFault(
                f"{where}.{name}: a run needs {needed:g}, Ray has {available:g} ({capacity}); lower it, or connect to "
                "a larger cluster by RAY_ADDRESS"
            )
    if not capacity.slots(resources.cpus, gpus):
        raise EnvironmentFault(
            f"{where}: a run needs {resources.cpus:g} CPUs and {gpus:g} GPUs on one node, and no node has both "
            f"({capacity}); lower resources.cpus, or connect to larger nodes by RAY_ADDRESS"
        )
    return float(gpus)


def check_ranks(capacity: Capacity, specs: Iterable[RunSpec], cpus: int, gpus: float) -> None:
    """Raises EnvironmentFault for a data-parallel run whose ranks the cluster can never hold at once."""
    gpus = gpus_of_rank(gpus)
    slots = capacity.slots(cpus, gpus)
    for spec in specs:
        if spec.recipe.workers > max(slots, 1):
            raise EnvironmentFault(
                f"params.yaml: {spec.experiment}.networks.{spec.network}: train.workers: {spec.recipe.workers} of "
                f"{cpus} CPUs and {gpus:g} GPUs each, Ray holds {slots} at once ({capacity}); lower train.workers or "
                "resources.cpus, or connect to a larger cluster by RAY_ADDRESS"
            )


def gpus_of_rank(gpus: float) -> float:
    """GPUs of each rank of a data-parallel run, where another run takes `gpus`: NCCL needs a device of its own."""
    return 1.0 if gpus else 0.0


def check_device(specs: Iterable[RunSpec], gpus: float) -> None:
    """Raises UserError for what a CPU lacks, and for networks whose gradients it may compute wrongly.

    TF32 is a format of GPUs. oneDNN's backward pass of a channels-last 1x1 convolution with stride 2 and fewer than 16
    input channels ends in a segmentation fault on some processors (uxlfoundation/oneDNN#6035).
    """
    if gpus:
        return
    for spec in specs:
        where = f"params.yaml: {spec.experiment}.networks.{spec.network}: on a CPU"
        network = spec.architecture
        if spec.recipe.precision == "tf32":
            raise UserError(f"{where}, precision must be fp32 or bf16, got tf32; set one of them, or train on a GPU")
        channels = network.width * (1 if network.block == "basic" else EXPANSION)
        if network.shortcut in ("B", "C") and channels < MIN_CHANNELS:
            raise UserError(
                f"{where}, projections (shortcut {network.shortcut}) need {MIN_CHANNELS} channels or more, "
                f"got width {network.width}; set a larger width, or shortcut A, or train on a GPU"
            )
