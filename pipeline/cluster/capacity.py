"""What the cluster has, and what of it a run takes; what it can never hold is refused before anything is trained."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.config.experiment import Experiment, RunSpec
from pipeline.errors import EnvironmentFault


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the cluster has in all."""

    cpus: float
    gpus: float
    nodes: int
    local: bool
    each: tuple[tuple[float, float], ...] = ()  # CPUs and GPUs of each node; nothing where one node has all

    def places(self, cpus: float, gpus: float) -> int:
        """How many workers it holds at once, none of which lies on two nodes."""
        nodes = self.each or ((self.cpus, self.gpus),)
        return sum(math.floor(min(c / cpus, g / gpus if gpus else math.inf) + 1e-9) for c, g in nodes)

    def __str__(self) -> str:
        kind = "this machine" if self.local else f"cluster of {self.nodes} nodes"
        return f"{kind}, {self.cpus:g} CPUs, {self.gpus:g} GPUs"


def share(capacity: Capacity, experiment: Experiment, *, small: bool) -> float:
    """GPUs for one run. Raises EnvironmentFault where the cluster can never hold the run.

    `auto`: none where there is no GPU; a quarter for data that lie on the device as a whole, for such networks leave
    most of a GPU idle; else a whole one.
    """
    resources = experiment.resources
    gpus = resources.gpus
    if gpus == "auto":
        gpus = 0.0 if capacity.gpus == 0 else 0.25 if small else 1.0
    for name, asked, there in (("cpus", resources.cpus, capacity.cpus), ("gpus", gpus, capacity.gpus)):
        if asked > there:
            raise EnvironmentFault(
                f"params.yaml: {experiment.name}.resources.{name}: a run asks for {asked:g}, Ray has {there:g} "
                f"({capacity}); lower it, or connect to a larger cluster by RAY_ADDRESS"
            )
    if not capacity.places(resources.cpus, gpus):
        raise EnvironmentFault(
            f"params.yaml: {experiment.name}.resources: a run asks for {resources.cpus:g} CPUs and {gpus:g} GPUs on "
            f"one node, and none has both ({capacity}); lower resources.cpus, or connect to larger nodes by RAY_ADDRESS"
        )
    return float(gpus)


def share_together(gpus: float) -> float:
    """GPUs of each worker of a data-parallel run, where a plain run takes `gpus`: NCCL takes a device only once."""
    return 1.0 if gpus else 0.0


def check_workers(capacity: Capacity, specs: Iterable[RunSpec], cpus: int, gpus: float) -> None:
    """Raises EnvironmentFault for a data-parallel run whose workers the cluster can never hold at once.

    A plain run takes `gpus`; Ray Train would wait for ever.
    """
    gpus = share_together(gpus)
    places = capacity.places(cpus, gpus)
    for spec in specs:
        workers = spec.recipe.sizes[-1]
        asks = "train.workers" if spec.recipe.min_workers is None else "train.min_workers"
        if workers > max(places, 1):
            raise EnvironmentFault(
                f"params.yaml: {spec.experiment}.networks.{spec.network}: {asks}: {workers} of {cpus} CPUs and "
                f"{gpus:g} GPUs each, Ray holds {places} at once ({capacity}); lower {asks} or resources.cpus, "
                f"or connect to a larger cluster by RAY_ADDRESS"
            )
