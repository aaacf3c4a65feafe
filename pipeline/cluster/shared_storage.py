"""Whether all nodes share the run store and the data: a file is written here, and every node must see it.

What creates a file exclusively here must do so from every node, because the leases of runs depend on it.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster.capacity import Capacity
from pipeline.errors import EnvironmentFault, UserError
from pipeline.paths import PARAMS
from pipeline.records import sha256
from pipeline.storage import create, fix, is_storage_error, locate, reason, storage_errors

PATIENCE_S = 120.0  # a worker has to start and to import torch, perhaps from a slow disk
SHARE = "mount one folder there on all nodes, or give them the same endpoint and credentials of one bucket"
EXCLUSIVE = (
    "that node creates a file that exists, so two workers would train the same run; use NFS version 4, or an object "
    "store that creates conditionally"
)
CHECKOUT = "let all nodes share the checkout, and start Ray on them with the same Python"
DATA = "let all nodes share the checkout with its data/"
DELETED = "would be deleted with the job's folder; set it to a bucket, or to an absolute path that all nodes share"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster; its name is its address, with a part of its id where several nodes have one address."""

    id: str
    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered, or why it did not."""

    node: Node
    value: Any
    fault: str = ""


Ask = Callable[..., Sequence[Answer]]  # `on_each`; tests have others


def nodes() -> list[Node]:
    """Returns the nodes of the connected cluster that are alive, by name."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    times = Counter(node["NodeManagerAddress"] for node in alive)
    found = []
    for node in alive:
        node_id, address, resources = node["NodeID"], node["NodeManagerAddress"], node["Resources"]
        name = address if times[address] == 1 else f"{address}/{node_id[:8]}"
        found.append(Node(node_id, name, resources.get("CPU", 0.0), resources.get("GPU", 0.0)))
    return sorted(found, key=lambda node: node.name)


def on_each(asked: Sequence[Node], function: Callable[..., Any], *arguments: Any) -> list[Answer]:
    """Returns the answers of `function(node, *arguments)` on every node. It needs no CPU: busy nodes answer too."""
    remote: Any = ray.remote(num_cpus=0, max_retries=0)(function)
    sent = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(node, *arguments)
        for node in asked
    ]
    ray.wait(sent, num_returns=len(sent), timeout=PATIENCE_S)
    answers = []
    for node, reference in zip(asked, sent, strict=True):
        try:
            answers.append(Answer(node, ray.get(reference, timeout=0)))
        except ray.exceptions.RayError as error:  # a GetTimeoutError too
            answers.append(Answer(node, None, (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()))
    return answers


def require_shared(capacity: Capacity, storage: str, data: Path, ask: Ask = on_each) -> None:
    """Raises EnvironmentFault, which names the node and the path, before work on several nodes that do not share.

    Raises UserError where the store is in an upload, which Ray deletes.
    """
    if "://" not in storage and not Path(storage).is_absolute() and is_upload():
        raise UserError(f"{PARAMS}: storage: {storage} {DELETED}")
    if len(capacity.nodes) < 2:
        return
    folder = locate(storage)
    with storage_errors(folder):
        for node, found in differences(folder, [data.absolute() / "manifest.json"], nodes(), ask):
            for text in found:
                raise EnvironmentFault(f"node {node.name}: {text}")


def is_upload() -> bool:
    """Whether this process is of a job that was submitted with a working directory."""
    return ray.is_initialized() and "working_dir" in ray.get_runtime_context().runtime_env


def differences(
    folder: Path, files: Sequence[Path], among: Sequence[Node], ask: Ask = on_each
) -> Iterator[tuple[Node, list[str]]]:
    """Yields for each node what it does not share with this process, as `PATH: what; how to fix it`.

    `folder` is written, `files` are only read. Raises the errors of the storage where this process cannot use it.
    """
    probe = folder / f".probe-{secrets.token_hex(8)}"
    try:
        create(probe, probe.name.encode())
        for answer in ask(among, look, probe, tuple(files), tuple(map(_digest, files))):
            nothing = f"{Path.cwd()}: nothing runs there: {answer.fault}; {CHECKOUT}"
            yield answer.node, [nothing] if answer.fault else answer.value
    finally:
        probe.unlink(missing_ok=True)


def look(_: Node, probe: Path, files: Sequence[Path], digests: Sequence[str]) -> list[str]:
    """Returns, on a node, what it does not share with the process that wrote the probe and digested the files."""
    folder, found = probe.parent, []
    try:
        if not probe.exists():
            found.append(f"{folder}: what is written here is not seen there; {SHARE}")
        elif create(probe, b""):
            found.append(f"{folder}: {EXCLUSIVE}")
    except Exception as error:
        if not is_storage_error(folder, error):
            raise
        found.append(f"{folder}: cannot be used there: {reason(error)}; {fix(folder, error)}")
    pairs = zip(files, digests, strict=True)
    return found + [f"{path}: not the same file there; {DATA}" for path, digest in pairs if _digest(path) != digest]


def _digest(path: Path) -> str:
    return sha256(path) if path.is_file() else ""
