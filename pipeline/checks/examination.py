"""All checks in their order: this machine first, then the cluster, then every node of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.checks import authentication, clocks, devices, mlflow_server, project, room, storage, versions
from pipeline.checks.devices import Devices
from pipeline.checks.line import Line, refused
from pipeline.checks.nodes import Answer, Node, alive, on_each
from pipeline.checks.room import WHOLE, Room
from pipeline.errors import EnvironmentFault

if TYPE_CHECKING:
    from pipeline.cluster.capacity import Capacity
    from pipeline.config.experiment import Experiment

DATA = Path("data")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a node says of itself, all in one task."""

    versions: dict[str, str]
    token: bool
    devices: Devices
    room: Room


def look() -> Sight:
    """On a node."""
    return Sight(versions.installed(), authentication.on(), devices.look(), room.look())


def lines(names: Sequence[str]) -> Iterator[Line]:
    """What there is to say, as it is found. `names`: experiments; else those that `dvc repro` runs."""
    said, experiments = project.params(names)
    yield project.git(Path())
    yield project.dvc_lock(Path())
    yield project.dvc_status(Path())
    yield from said
    yield versions.of_driver(versions.installed())
    yield mlflow_server.line()
    if experiments and "://" not in experiments[0].storage:  # of a bucket nobody can tell
        yield room.of_folder("space for storage", Path(experiments[0].storage), room.store_bytes(experiments))
    yield room.of_folder("space for data", DATA, room.DATA_BYTES)
    yield authentication.of_driver()
    yield from _cluster(experiments)


def _cluster(experiments: "Sequence[Experiment]") -> Iterator[Line]:
    from pipeline.cluster import connection

    try:
        with connection.connected() as capacity:
            yield Line("Ray", str(capacity))
            for experiment in experiments:
                yield resources(capacity, experiment)
            nodes = alive()
            yield from _nodes(nodes, experiments)
            yield from clocks.lines(nodes)
            if experiments:
                yield from _storage(nodes, experiments)
    except EnvironmentFault as error:
        line = refused("Ray", error)
        yield Line(line.what, line.seen, f"{line.mend}; where it is there, see that this machine has its token")


def resources(capacity: "Capacity", experiment: "Experiment") -> Line:
    """Whether the cluster can ever hold what one run asks for."""
    from pipeline.cluster.capacity import check_workers, share

    what = f"resources of {experiment.name}"
    try:
        gpus = share(capacity, experiment, small=experiment.data.dataset in WHOLE)
        check_workers(capacity, experiment.runs, experiment.resources.cpus, gpus)
    except EnvironmentFault as error:
        return refused(what, error)
    return Line(what, f"a run takes {experiment.resources.cpus} CPUs and {gpus:g} GPUs")


def _nodes(nodes: Sequence[Node], experiments: "Sequence[Experiment]") -> Iterator[Line]:
    answers = on_each(nodes, look)
    told = [Answer(a.node, a.value.versions if a.value else None, a.fault) for a in answers]
    yield from versions.of_nodes(versions.installed(), told)
    compiling = any(run.recipe.compile for experiment in experiments for run in experiment.runs)
    for answer in answers:
        if (seen := answer.value) is not None:
            yield authentication.of_node(answer.node, seen.token)
            yield from devices.lines(answer.node, seen.devices, compiling=compiling)
            yield from room.of_node(answer.node, seen.room, experiments)


def _storage(nodes: Sequence[Node], experiments: "Sequence[Experiment]") -> Iterator[Line]:
    from pipeline.store import slots

    try:
        folder = slots.open_store(experiments[0].storage)
    except EnvironmentFault as error:
        yield refused("storage", error)
        return
    manifests = [(DATA / experiment.name / "manifest.json").absolute() for experiment in experiments]
    yield from storage.lines(folder, [path for path in manifests if path.is_file()], nodes)
