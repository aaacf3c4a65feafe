"""Departures from the paper: every field that differs is listed, with the paper's value and its section."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from pipeline.config import RunSpec, load
from pipeline.reporting.departures import Departure, departures
from pipeline.reporting.inputs import Inputs, network
from resnet.paper import published
from resnet.recipe import Recipe
from tests.factories.reports import EXPERIMENT, Made, inputs

ROOT = Path(__file__).parents[2]


def of_networks(found: Inputs, specs: list[RunSpec]) -> list[Departure]:
    """Returns departures of recipes and architectures, as if the experiment had these networks."""
    study = replace(found.study, networks=tuple(network([spec], {}) for spec in specs))
    return [d for d in departures(replace(found, study=study)) if d.field.startswith(("train.", "architecture."))]


def test_departures_are_found_field_by_field(tmp_path: Path) -> None:
    changes = {f"{EXPERIMENT}.networks": {"plain-18": None, "plain-34": {"train": {"lr": 0.5}}}}
    found = {(d.field, d.here): d for d in departures(inputs(tmp_path, Made(changes=changes)))}
    assert found["train.lr", "0.5"].networks == ("plain-34",)
    assert found["train.batch_size", "64"].paper == "256"
    assert found["architecture.width", "16"].paper == "64"
    assert found["data set", "digits of scikit-learn"].paper == "ImageNet 2012"
    assert not any(field == "train.momentum" for field, _ in found)


def test_the_papers_own_recipe_is_no_departure(tmp_path: Path) -> None:
    """Of `cifar10`, the one row that leaves out the warm-up on purpose (footnote 5) is listed."""
    specs = [spec for spec in load("cifar10", ROOT / "params.yaml").runs if spec.seed == 0]
    found = of_networks(inputs(tmp_path), specs)
    cold = tuple(spec.network for spec in specs if spec.network.endswith("-cold"))
    assert [(d.field, d.here, d.networks) for d in found] == [("train.warm_up", "none", cold)]


@pytest.mark.parametrize(
    ("recipe", "here"),
    [
        ({}, None),
        ({"workers": 4, "batch_norm_groups": 1}, "in 1 part(s) of 64 images"),
        ({"batch_norm_groups": 8}, "in 8 part(s) of 8 images"),
        ({"workers": 8, "batch_size": 256}, None),  # as by the paper's GPUs
    ],
)
def test_a_batch_in_parts_is_listed_where_the_parts_are_not_the_papers(
    recipe: dict[str, int], here: str | None, tmp_path: Path
) -> None:
    changes = {f"{EXPERIMENT}.networks": {"plain-18": None, "plain-34": {"train": recipe}}}
    found = departures(inputs(tmp_path, Made(changes=changes)))
    parts = [(d.here, d.paper, d.networks) for d in found if d.field == "batch normalisation"]
    assert parts == ([] if here is None else [(here, "in 8 part(s) of 32 images", ("plain-34",))])


@pytest.mark.parametrize("group", ["imagenet", "cifar"])
def test_every_field_that_decides_what_is_trained_has_the_papers_value(group: str) -> None:
    papers = {
        row["field"].removeprefix("train.") for row in published.table("he2015_setup") if row["networks"] == group
    }
    others = {"record_every", "validate_every", "compile", "workers", "batch_norm_groups"}  # "batch normalisation"
    assert {field.name for field in fields(Recipe)} - papers == others
