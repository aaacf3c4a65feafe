"""How many workers of a data-parallel run find a place on the cluster, and how many its recipe lets it have."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cluster.beats import Nodes


@dataclass(frozen=True, slots=True)
class Places:
    """For workers of a kind, on nodes that take work."""

    there: int  # whoever has them now
    free: int

    @classmethod
    def of(cls, nodes: Nodes | None, cpus: float, gpus: float) -> "Places | None":
        """None before the nodes are known."""
        return None if nodes is None else cls(_held(nodes.each, cpus, gpus), _held(nodes.free, cpus, gpus))


def _held(each: Sequence[tuple[float, float]], cpus: float, gpus: float) -> int:
    from pipeline.cluster.capacity import Capacity

    has = [sum(of) for of in zip(*each, strict=True)] or [0.0, 0.0]
    return Capacity(has[0], has[1], len(each), local=False, each=tuple(each)).places(cpus, gpus) if each else 0


def fitting(sizes: Sequence[int], places: int) -> int:
    """The largest of `sizes`, which fall, that finds its places; the smallest where none does."""
    return next((size for size in sizes if size <= places), sizes[-1])
