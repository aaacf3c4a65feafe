"""One question to every node of the cluster, all at once, and what came back."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
PATIENCE_S = 120.0  # a worker has to start and to import torch, perhaps from a slow disk


@dataclass(frozen=True, slots=True)
class Node:
    """As Ray has it."""

    id: str
    name: str  # its address, with a part of its id where several nodes have one address
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a node said, or why it said nothing."""

    node: Node
    value: T | None
    fault: str = ""


Ask = Callable[..., Sequence[Answer[Any]]]  # `on_each`, or what stands for it where there is no cluster


def alive() -> list[Node]:
    """The nodes that are there now, the driver's cluster being connected."""
    import ray

    return named([node for node in ray.nodes() if node["Alive"]])


def named(found: Iterable[dict[str, Any]]) -> list[Node]:
    """Nodes from Ray's own descriptions, in the order of their names."""
    found = list(found)
    times = Counter(node["NodeManagerAddress"] for node in found)
    nodes = []
    for node in found:
        address, resources = node["NodeManagerAddress"], node["Resources"]
        name = address if times[address] == 1 else f"{address}/{node['NodeID'][:8]}"
        nodes.append(Node(node["NodeID"], name, resources.get("CPU", 0.0), resources.get("GPU", 0.0)))
    return sorted(nodes, key=lambda node: node.name)


def on_each(nodes: Sequence[Node], function: Callable[..., T], *arguments: Any) -> list[Answer[T]]:
    """`function(*arguments)` on every node. It asks for no CPU, so that a busy cluster answers too; raises nothing."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    remote: Any = ray.remote(num_cpus=0, max_retries=0)(function)
    asked = [remote.options(scheduling_strategy=On(node.id, soft=False)).remote(*arguments) for node in nodes]
    ray.wait(asked, num_returns=len(asked), timeout=PATIENCE_S)
    return [_answer(node, reference) for node, reference in zip(nodes, asked, strict=True)]


def _answer(node: Node, reference: Any) -> Answer[Any]:
    import ray

    try:
        return Answer(node, ray.get(reference, timeout=0))
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference, force=True)
        return Answer(node, None, f"no answer in {PATIENCE_S:g} s")
    except ray.exceptions.RayError as error:
        return Answer(node, None, (str(error).strip().splitlines() or [type(error).__name__])[-1].strip())
