"""The Ray cluster: RAY_ADDRESS if it is set, else one of this machine's own. Requests carry a token."""

import logging
import math
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline import ahead, head, lifeline, own_ray
from pipeline.config import Experiment, RunSpec
from pipeline.errors import EnvironmentFault

KNOCK_S = 10.0
QUIETLY = {"logging_level": logging.ERROR, "log_to_driver": False}


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


@contextmanager
def connected(soon: Sequence[str] = ()) -> Iterator[Capacity]:
    """A connection for the length of the block. Raises EnvironmentFault where there is no cluster to connect to.

    Modules that are needed `soon` are imported while Ray starts.
    """
    address = os.environ.get("RAY_ADDRESS") or None
    # Driver and workers share one environment already; Ray's wish to rebuild it through uv only costs time.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        own_ray.prepare()
    else:
        _knock(address)
    import ray

    ahead.begin(soon)
    try:
        if address is None:
            own_ray.start(**QUIETLY)
        else:
            ray.init(address=address, **QUIETLY)
    except Exception as error:  # of a machine that is too busy Ray says it by a plain one
        what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _no_cluster(address, what) from None
    lifeline.hold()  # Ray puts handlers of its own in place
    gcs = head.Gcs(str(ray.get_runtime_context().gcs_address))
    with head.watched(gcs.answers, _lost(address, gcs.address)):
        try:
            yield _capacity(address is None)
        except Exception:
            head.settle()
            raise
        finally:
            if lifeline.reason() is None:  # else Ray would wait for the head that is gone
                ray.shutdown()
                lifeline.hold()


def _capacity(local: bool) -> Capacity:
    import ray

    total = ray.cluster_resources()
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    each = tuple((has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in alive)
    return Capacity(total.get("CPU", 0.0), total.get("GPU", 0.0), len(alive), local, each)


def _lost(address: str | None, gcs: str) -> str:
    what = f"Ray on this machine ({gcs})" if address is None else f"the head of the Ray cluster ({gcs})"
    where = "" if address is None else ", on a new cluster too"
    return f"{what} does not answer any more; finished runs and checkpoints are kept: the same command goes on{where}"


def _no_cluster(address: str | None, what: str) -> EnvironmentFault:
    if address is None:
        return EnvironmentFault(
            f"Ray did not start on this machine ({what}); give it more memory or rest, or a cluster by RAY_ADDRESS"
        )
    return EnvironmentFault(
        f"RAY_ADDRESS={address}: no Ray cluster ({what}); start one, or unset RAY_ADDRESS to use this machine"
    )


def _knock(address: str) -> None:
    """Raises EnvironmentFault where nothing listens at HOST:PORT: Ray itself would go on asking for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        return  # a name such as `auto`, or something that Ray refuses
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from None


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
