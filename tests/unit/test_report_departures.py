"""Departures from the paper: every field that differs is listed, with the paper's value and its section."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from pipeline.config import RunSpec, load
from pipeline.reporting.departures import Departure, departures
from pipeline.reporting.inputs import Inputs, network
from resnet.architectures import ARCHITECTURES
from resnet.paper import published
from resnet.recipe import Recipe
from tests.factories.reports import EXPERIMENT, Made, inputs, report, rows

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


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"unit": "preactivation"}, "§4, Fig. 4 of He et al. 2016"),
        ({"gate": "exclusive"}, "§3.1 of He et al. 2016"),
        ({"bias": "all"}, "§3.3, Table 1"),
    ],
)
def test_fields_of_the_second_paper_have_its_sections(tmp_path: Path, change: dict[str, object], where: str) -> None:
    networks = {"resnet-18": {"architecture": change}, "plain-18": None}
    text, _ = report(tmp_path, Made(networks=(), seeds=1, changes={f"{EXPERIMENT}.networks": networks}))
    (name, value), *_ = change.items()
    found = {row[0]: row[1:] for row in rows(text, "Departures")}
    assert found[f"architecture.{name}"] == [str(value), found[f"architecture.{name}"][1], where, "resnet-18"]


def test_networks_of_the_second_paper_depart_from_its_recipe(tmp_path: Path) -> None:
    (spec, *_) = load("cifar10", ROOT / "params.yaml").runs
    named = "cifar-preact-110"
    found = of_networks(inputs(tmp_path), [replace(spec, architecture_name=named, architecture=ARCHITECTURES[named])])
    assert [(d.field, d.paper, d.section) for d in found] == [
        ("train.warm_up", "lr 0.01 for 400 iterations", "Appendix of He et al. 2016")
    ]


def test_ten_crops_are_no_departure(tmp_path: Path) -> None:
    changes = {f"{EXPERIMENT}.evaluation": {"averaging": "logits"}}
    crops = inputs(tmp_path, Made(seeds=1, protocols={"10-crop": 0.0}, changes=changes))
    found = {d.field: d for d in departures(crops)}
    assert "evaluation" not in found
    assert (found["evaluation.averaging"].here, found["evaluation.averaging"].paper) == ("logits", "softmax")
    without = {d.field: d.here for d in departures(inputs(tmp_path / "without", Made(seeds=1)))}
    assert without["evaluation"] == "single view"


def test_what_a_rounded_evaluation_changes(tmp_path: Path) -> None:
    found = inputs(tmp_path)
    assert not any("precision" in d.field for d in departures(found))
    for i, (name, result) in enumerate(found.results.items()):
        found.results[name] = result.model_copy(update={"top1_change_points": 0.25 * (-1) ** i})
    here = {d.field: d.here for d in departures(found)}
    assert here["evaluation.precision: top-1 error of one view"] == "-0.25 to +0.25 points"
