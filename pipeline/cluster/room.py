"""A cluster that shrinks below what a waiting run asks for: said, waited for, and given up after a while."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cluster.beats import Nodes
from pipeline.errors import EnvironmentFault

STEP_S = 5.0  # of one look, at most, count as waiting: the driver may have been stopped in between


@dataclass(slots=True)
class Room:
    """For runs of one kind. Has no clock of its own: `now` in seconds of the driver's."""

    cpus: float
    gpus: float
    wait_s: float
    workers: int = 1  # of a run, all of which it takes
    _waited_s: float | None = None  # None while there is room
    _looked: float = 0.0

    def look(self, nodes: Nodes | None, waiting: Sequence[str], now: float) -> str:
        """What there is to say, or "". Raises EnvironmentFault after `wait_s` without room for what is waiting.

        Nodes that are being drained are no room. What waits stays with Ray meanwhile, as demand: where a cluster grows
        by itself, that is what brings nodes.
        """
        from pipeline.cluster.capacity import Capacity

        if nodes is None or not waiting:
            return ""
        cpus, gpus = (sum(of) for of in zip(*nodes.each, strict=True)) if nodes.each else (0.0, 0.0)
        capacity = Capacity(cpus, gpus, len(nodes.each), local=False, each=nodes.each or ((0.0, 0.0),))
        step_s, self._looked = min(now - self._looked, STEP_S), now
        if capacity.places(self.cpus, self.gpus) >= self.workers:
            before, self._waited_s = self._waited_s, None
            return "" if before is None else f"there is room again ({capacity})"
        first, self._waited_s = self._waited_s is None, 0.0 if self._waited_s is None else self._waited_s + step_s
        each = f"{self.workers} workers of " if self.workers > 1 else ""
        short = f"the cluster has shrunk ({capacity}): a run asks for {each}{self.cpus:g} CPUs and {self.gpus:g} GPUs"
        if self._waited_s >= self.wait_s:
            raise EnvironmentFault(
                f"{short} on one node; waited {self._waited_s:.0f} s for nodes, {len(waiting)} runs are left; start "
                "some and give the same command (finished runs and checkpoints are kept), or raise resources.wait_s"
            )
        return f"{short} on one node; waits {self.wait_s:g} s for nodes" if first else ""
