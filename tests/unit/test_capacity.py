"""What a run takes of the cluster, and the refusal of runs that it can never hold."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.capacity import Capacity, check_device, check_ranks, gpu_fraction
from pipeline.config import Experiment, load
from pipeline.errors import EnvironmentFault, UserError
from tests.factories.params import params, write

HERE = Capacity(nodes=((2.0, 0.0),), local=True)
THERE = Capacity(nodes=((0.0, 0.0), (16.0, 2.0), (16.0, 2.0), (32.0, 4.0)), local=False)
Load = Callable[..., Experiment]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def loading(**changes: Any) -> Experiment:
        resources = {f"tiny.resources.{key}": value for key, value in changes.items()}
        return load("tiny", write(tmp_path / "params.yaml", params(resources)))

    return loading


@pytest.mark.parametrize(
    ("asked", "capacity", "in_memory", "gpus"),
    [
        ("auto", HERE, True, 0.0),
        ("auto", HERE, False, 0.0),
        ("auto", THERE, True, 0.25),
        ("auto", THERE, False, 1.0),
        *((number, THERE, True, number) for number in (0, 0.1, 0.5, 1)),
    ],
)
def test_auto_takes_a_fraction_of_a_gpu_where_there_is_one_and_a_number_is_taken_as_it_is(
    asked: float | str, capacity: Capacity, in_memory: bool, gpus: float, loaded: Load
) -> None:
    assert gpu_fraction(capacity, loaded(gpus=asked), in_memory=in_memory) == gpus


@pytest.mark.parametrize(
    ("resources", "capacity", "words"),
    [
        ({"gpus": 1.0}, HERE, ["tiny.resources.gpus", "needs 1, Ray has 0", "this machine, 2 CPUs, 0 GPUs"]),
        ({"cpus": 3}, HERE, ["tiny.resources.cpus", "needs 3, Ray has 2", "lower it"]),
        ({"cpus": 100}, THERE, ["needs 100, Ray has 64", "cluster of 4 nodes", "RAY_ADDRESS"]),
        (
            {"cpus": 40},
            THERE,
            ["needs 40 CPUs and 0.25 GPUs on one node, and no node has both", "lower resources.cpus"],
        ),
    ],
)
def test_more_than_the_cluster_has_is_refused_with_the_numbers(
    resources: dict[str, Any], capacity: Capacity, words: list[str], loaded: Load
) -> None:
    with pytest.raises(EnvironmentFault) as error:
        gpu_fraction(capacity, loaded(**resources), in_memory=True)
    assert [word for word in words if word not in str(error.value)] == [], error.value


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"), [(1, 0, 64), (1, 0.25, 32), (4, 1, 8), (16, 1, 4), (32, 0, 1), (33, 0, 0), (1, 0.1, 64)]
)
def test_a_worker_is_on_one_node(cpus: float, gpus: float, slots: int) -> None:
    assert THERE.slots(cpus, gpus) == slots


def test_ranks_that_never_fit_at_once_are_refused(loaded: Load) -> None:
    first, *others = loaded().runs
    wide = replace(first, recipe=replace(first.recipe, workers=4))
    check_ranks(THERE, [wide, *others], cpus=4, gpus=0.25)
    with pytest.raises(EnvironmentFault, match=r"plain-18: train\.workers: 4 of 1 CPUs and 0 GPUs each, Ray holds 2"):
        check_ranks(HERE, [wide, *others], cpus=1, gpus=0.0)
    check_ranks(HERE, others, cpus=100, gpus=0.0)  # the check of single runs is another one


def test_what_a_cpu_cannot_do_is_refused(loaded: Load) -> None:
    spec = loaded().runs[0]
    tf32 = replace(spec, recipe=replace(spec.recipe, precision="tf32"))
    narrow = replace(spec, architecture=replace(spec.architecture, shortcut="B", width=8))
    check_device([spec, replace(narrow, architecture=replace(narrow.architecture, width=16))], gpus=0.0)
    for bad, words in (
        (tf32, "precision must be fp32 or bf16, got tf32"),
        (narrow, "16 channels or more, got width 8"),
    ):
        with pytest.raises(UserError, match=words):
            check_device([bad], gpus=0.0)
        check_device([bad], gpus=0.25)
