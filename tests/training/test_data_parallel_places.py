"""Where the workers of a run find room, which is on nodes; and what the report says of their parts of a batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.capacity import Capacity, check_workers, share, share_together
from pipeline.config.experiment import Experiment
from pipeline.config.params import load
from pipeline.errors import EnvironmentFault
from pipeline.reporting import inputs
from pipeline.reporting.departures import departures
from tests.params_maker import params, write
from tests.report_maker import EXPERIMENT, Made, make

UNEVEN = Capacity(cpus=10.0, gpus=3.0, nodes=3, local=False, each=((2.0, 2.0), (4.0, 0.0), (4.0, 1.0)))


def experiment(folder: Path, **changes: Any) -> Experiment:
    return load("tiny", write(folder / "params.yaml", params({f"tiny.{k}": v for k, v in changes.items()})))


@pytest.mark.parametrize(
    ("cpus", "gpus", "places"),
    [(1, 0.0, 10), (2, 0.0, 5), (3, 0.0, 2), (5, 0.0, 0), (1, 1.0, 3), (3, 1.0, 1), (1, 0.1, 6)],
)
def test_places_are_those_of_the_nodes(cpus: int, gpus: float, places: int) -> None:
    assert UNEVEN.places(cpus, gpus) == places


def test_one_node_has_all_where_nothing_is_known_of_nodes() -> None:
    assert Capacity(cpus=4.0, gpus=1.0, nodes=1, local=True).places(1, 0.1) == 4


@pytest.mark.parametrize(("cpus", "gpus", "workers"), [(1, 0.0, 8), (2, 0.0, 4), (1, 0.25, 2)])
def test_workers_find_room_and_twice_as_many_do_not(cpus: int, gpus: float, workers: int, tmp_path: Path) -> None:
    few, many = (experiment(tmp_path, **{"train.workers": n}).runs for n in (workers, 2 * workers))
    assert {run.recipe.workers for run in few} == {workers}
    check_workers(UNEVEN, few, cpus, gpus)
    with pytest.raises(EnvironmentFault, match=f"train.workers: {2 * workers} of {cpus} CPUs"):
        check_workers(UNEVEN, [*few, *many], cpus, gpus)


def test_an_elastic_run_needs_room_for_its_fewest_workers(tmp_path: Path) -> None:
    few, many = (
        experiment(tmp_path, **{"train.batch_size": 64, "train.workers": 32, "train.min_workers": least}).runs
        for least in (8, 9)
    )
    check_workers(UNEVEN, few, 1, 0.0)
    with pytest.raises(EnvironmentFault, match=r"train\.min_workers: 16 of 1 CPUs .* lower train\.min_workers or"):
        check_workers(UNEVEN, many, 1, 0.0)


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "words"),
    [
        (3, 0.0, 4, "train.workers: 4 of 3 CPUs and 0 GPUs each, Ray holds 2 at once (cluster of 3 nodes, 10 CPUs"),
        (1, 0.25, 4, "train.workers: 4 of 1 CPUs and 1 GPUs each, Ray holds 3 at once"),  # whole GPUs
        (3, 1.0, 2, "train.workers: 2 of 3 CPUs and 1 GPUs each, Ray holds 1 at once"),
    ],
)  # fmt: skip
def test_workers_that_find_no_room_are_refused(
    cpus: int, gpus: float, workers: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentFault) as error:
        check_workers(UNEVEN, experiment(tmp_path, **{"train.workers": workers}).runs, cpus, gpus)
    text = str(error.value)
    assert text.startswith(f"params.yaml: tiny.networks.plain-18: {words}")
    assert len(text.splitlines()) == 1
    assert "lower train.workers or resources.cpus" in text


def test_a_run_that_no_single_node_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="asks for 5 CPUs and 0 GPUs on one node, and none has both"):
        share(UNEVEN, experiment(tmp_path, **{"resources.cpus": 5, "resources.gpus": 0}), small=True)
    assert share(UNEVEN, experiment(tmp_path, **{"resources.cpus": 4, "resources.gpus": 0}), small=True) == 0.0


def test_a_worker_of_several_takes_a_whole_gpu() -> None:
    assert [share_together(gpus) for gpus in (0.0, 0.25, 1.0)] == [0.0, 1.0, 1.0]


def test_a_number_of_workers_that_changed_is_listed(tmp_path: Path) -> None:
    gathered = inputs.gather(make(tmp_path, Made(changes={f"{EXPERIMENT}.networks": {"plain-18": None}})), tmp_path)
    first, *others = gathered.measured
    changed = replace(first, record=first.record.model_copy(update={"world_sizes": [(0, 2), (7, 1), (13, 2)]}))
    steady = [replace(m, record=m.record.model_copy(update={"world_sizes": [(0, 2)]})) for m in others]
    with_change = replace(gathered, measured=(changed, *steady))
    found = [[d for d in departures(inputs.study(g), g) if d.field == "workers"] for g in (gathered, with_change)]
    assert found[0] == []
    assert [(d.here, d.paper, d.networks) for d in found[1]] == [
        (f"2, 1 from iteration 8, 2 from iteration 14 (seed {first.record.seed})", "8 GPUs throughout", ("plain-18",))
    ]


@pytest.mark.parametrize(
    ("recipe", "here"),
    [
        ({}, None),
        ({"workers": 2}, "in 2 part(s) of 32 images, on 2 worker(s)"),
        ({"workers": 4, "batch_norm_groups": 1}, "in 1 part(s) of 64 images, on 4 worker(s)"),
        ({"batch_norm_groups": 8}, "in 8 part(s) of 8 images, on 1 worker(s)"),
        ({"workers": 8, "batch_size": 256}, None),  # as by the paper's GPUs
    ],
)
def test_a_batch_in_parts_is_listed_where_the_parts_are_not_the_papers(
    recipe: dict[str, Any], here: str | None, tmp_path: Path
) -> None:
    changes = {f"{EXPERIMENT}.networks": {"plain-18": None, "plain-34": None}}
    gathered = inputs.gather(make(tmp_path, Made(changes=changes)), tmp_path)
    study = inputs.study(gathered)
    networks = tuple(
        replace(network, recipe=replace(network.recipe, **recipe)) if network.name == "plain-34" else network
        for network in study.networks
    )
    found = [d for d in departures(replace(study, networks=networks), gathered) if d.field == "batch normalisation"]
    assert [(d.here, d.networks) for d in found] == ([] if here is None else [(here, ("plain-34",))])
    assert all(d.paper == "by GPU: 8 of 32 images" and d.section == "3.4" for d in found)
