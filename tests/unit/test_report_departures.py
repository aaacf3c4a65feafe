"""Departures from the paper: every field that differs is listed, with the paper's value, section and sentence."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load
from pipeline.records import SplitErrors, SplitInfo
from pipeline.reporting.departures import departures, open_choices
from pipeline.reporting.inputs import Inputs, network
from resnet.paper.published import table
from resnet.recipe import Recipe
from tests.factories.reports import EXPERIMENT, Made, inputs

ROOT = Path(__file__).parents[2]


def split(images: int) -> SplitInfo:
    return SplitInfo(images=images, per_class={}, files=[])


def published(made: Inputs, name: str, *, validation: int = 5000) -> Inputs:
    """Returns an experiment of params.yaml as it is prepared from its published data, evaluated by 10 crops."""
    experiment = load(name, ROOT / "params.yaml")
    specs = [spec for spec in experiment.runs if spec.seed == 0]
    experiment = replace(experiment, runs=tuple(specs))
    shape: dict[str, Any] = {"dataset": name, "channels": 3, "size": 32, "classes": list("0123456789")}
    sizes: dict[str, Any] = {"train": split(50_000 - validation), "val": split(validation or 10_000)}
    sizes["test"] = split(10_000) if validation else None
    if name == "imagenet":
        shape |= {"size": 224, "classes": [f"{i}" for i in range(1000)], "colour": made.manifest.mean}
        sizes = {"train": split(1_281_167), "val": split(50_000), "test": None}
    errors = SplitErrors(images=1, top1_errors=0, top5_errors=0, loss=0.0)
    result = next(iter(made.results.values())).model_copy(update={"protocols": {"10-crop": errors}})
    return replace(
        made,
        experiment=experiment,
        manifest=made.manifest.model_copy(update=shape | sizes),
        study=replace(made.study, networks=tuple(network([spec], {}) for spec in specs)),
        results={specs[0].name: result},
    )


def test_departures_are_found_field_by_field(tmp_path: Path) -> None:
    changes = {f"{EXPERIMENT}.networks": {"plain-18": None, "plain-34": {"train": {"lr": 0.5}}}}
    found = {(d.field, d.here): d for d in departures(inputs(tmp_path, Made(changes=changes)))}
    assert found["train.lr", "0.5"].networks == ("plain-34",)
    assert found["train.batch_size", "64"].paper == "256"
    assert found["architecture.width", "16"].paper == "64"
    assert found["data set", "digits of scikit-learn"].paper == "ImageNet 2012"
    assert not any(field == "train.momentum" for field, _ in found)


@pytest.mark.parametrize("validation", [5000, 0])
def test_what_remains_of_cifar10(validation: int, tmp_path: Path) -> None:
    """The paper trains on all 50,000 images. One row leaves out the warm-up on purpose (footnote 5)."""
    found = {d.field: d for d in departures(published(inputs(tmp_path), "cifar10", validation=validation))}
    assert set(found) == {"pixels", "train.warm_up"} | ({"training images"} if validation else set())
    assert found["train.warm_up"].networks == ("cifar-resnet-110-cold",)
    assert all(d.sentence for d in found.values())


def test_what_remains_of_imagenet(tmp_path: Path) -> None:
    """The crop in place of padding, and the options of Table 3, are the paper's own."""
    found = published(inputs(tmp_path), "imagenet")
    rows = {(d.field, d.here): d for d in departures(found)}
    everywhere = [field for (field, _), d in rows.items() if len(d.networks) == len(found.study.networks)]
    assert everywhere == ["pixels", "JPEG files"]
    others = {(field, len(d.networks)) for (field, _), d in rows.items() if field not in everywhere}
    longer = {("train.iterations", 1), ("train.lr_drops", 1)}  # footnote 3
    assert others == {("train.lr_drops", len(found.study.networks) - 1)} | longer
    assert all(d.sentence for d in rows.values())


def test_open_choices(tmp_path: Path) -> None:
    cifar = {choice.field: choice for choice in open_choices(published(inputs(tmp_path / "a"), "cifar10"))}
    assert cifar["warm-up"].here == "cifar-resnet-110, cifar-resnet-1202"
    assert cifar["evaluation.reestimate_batch_norm"].here == "no"
    imagenet = {choice.field for choice in open_choices(published(inputs(tmp_path / "b"), "imagenet"))}
    assert {"weight decay", "10-crop: corners", "resampling"} <= imagenet
    assert not imagenet & {"padding", "warm-up", "multi-scale: mean"}
    assert all(row["why"] for row in table("he2015_open_choices"))


@pytest.mark.parametrize(
    ("recipe", "here"),
    [
        ({}, "in 1 part(s) of 64 images"),
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
    parts = [(d.here, d.paper) for d in found if d.field == "batch normalisation" and "plain-34" in d.networks]
    assert parts == ([] if here is None else [(here, "in 8 part(s) of 32 images")])


@pytest.mark.parametrize("group", ["imagenet", "cifar"])
def test_every_field_that_decides_what_is_trained_has_the_papers_value(group: str) -> None:
    papers = {row["field"].removeprefix("train.") for row in table("he2015_setup") if row["networks"] == group}
    others = {"record_every", "validate_every", "compile", "workers", "batch_norm_groups"}  # "batch normalisation"
    assert {field.name for field in fields(Recipe)} - papers == others
