"""Departures from the paper: every field that differs is listed, with the paper's value and where it stands."""

import dataclasses
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.config.params import load
from pipeline.reporting import inputs
from pipeline.reporting.departures import NOT_OUTCOMES, PAPER, departures
from resnet.architectures import ARCHITECTURES
from resnet.recipe import Recipe
from resnet.study import Study
from tests.report_maker import EXPERIMENT, Made, make
from tests.report_reader import made, rows

ROOT = Path(__file__).parents[2]


def test_departures_are_found_field_by_field(tmp_path: Path) -> None:
    changes = {f"{EXPERIMENT}.networks": {"plain-18": None, "plain-34": {"train": {"lr": 0.5}}}}
    gathered = inputs.gather(make(tmp_path, Made(changes=changes)), tmp_path)
    found = {(d.field, d.here): d for d in departures(inputs.study(gathered), gathered)}
    assert found["train.lr", "0.5"].networks == ("plain-34",)
    assert found["train.batch_size", "64"].paper == "256"
    assert found["architecture.width", "16"].paper == "64"
    assert not any(field == "train.momentum" for field, _ in found)


def test_the_papers_own_recipe_is_no_departure(tmp_path: Path) -> None:
    """Of `cifar10`, the one row that leaves out the warm-up on purpose (footnote 5) is listed."""
    gathered = inputs.gather(make(tmp_path), tmp_path)
    runs = load("cifar10", ROOT / "params.yaml").runs
    networks = tuple(inputs._network([spec], []) for spec in runs if spec.seed == 0)
    study = Study(experiment="cifar10", dataset="cifar10", classes=10, networks=networks, headline="test")
    found = [d for d in departures(study, gathered) if d.field.startswith(("train.", "architecture."))]
    cold = tuple(n.name for n in networks if n.name.endswith("-cold"))
    assert [(d.field, d.here, d.networks) for d in found] == [("train.warm_up", "none", cold)]


def test_every_field_of_a_recipe_has_the_papers_value() -> None:
    names = {field.name for field in fields(Recipe)} - set(NOT_OUTCOMES)
    assert all(names <= set(paper) for paper in PAPER.values())


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"unit": "preactivation"}, "§4, Fig. 4 of He et al. 2016"),
        ({"gate": "exclusive"}, "§3.1 of He et al. 2016"),
        ({"shortcut_dropout": 0.5}, "§3.1 of He et al. 2016"),
        ({"shortcut_scale": 0.5}, "§3.1 of He et al. 2016"),
        ({"bias": "all"}, "§3.3, Table 1"),
    ],
)
def test_fields_of_the_second_paper_have_its_sections(tmp_path: Path, change: dict[str, object], where: str) -> None:
    networks = {"resnet-18": {"architecture": change}, "plain-18": None}
    text, _ = made(tmp_path, Made(networks=(), seeds=1, changes={f"{EXPERIMENT}.networks": networks}))
    (name, value), *_ = change.items()
    found = {row[0]: row[1:] for row in rows(text, "Departures")}
    assert found[f"architecture.{name}"] == [str(value), found[f"architecture.{name}"][1], where, "resnet-18"]


def test_networks_of_the_second_paper_depart_from_its_recipe(tmp_path: Path) -> None:
    gathered = inputs.gather(make(tmp_path), tmp_path)
    (spec, *_) = load("cifar10", ROOT / "params.yaml").runs
    changed = dataclasses.replace(
        spec, architecture_name="cifar-preact-110", architecture=ARCHITECTURES["cifar-preact-110"]
    )
    network = inputs._network([changed], [])
    study = Study(experiment="cifar10", dataset="cifar10", classes=10, networks=(network,), headline="test")
    found = [d for d in departures(study, gathered) if d.field.startswith(("train.", "architecture."))]
    assert [(d.field, d.paper, d.section) for d in found] == [
        ("train.warm_up", "lr 0.01 for 400 iterations", "Appendix of He et al. 2016")
    ]


def test_ten_crops_are_no_departure(tmp_path: Path) -> None:
    asked = {f"{EXPERIMENT}.evaluation": {"averaging": "logits"}}
    text, _ = made(tmp_path, Made(seeds=1, protocols={"10-crop": 0.0}, changes=asked))
    found = {row[0]: row[1:] for row in rows(text, "Departures")}
    assert "evaluation" not in found
    assert found["evaluation.averaging"] == ["logits", "softmax", "§3.4", "all"]
    without, _ = made(tmp_path / "without", Made(seeds=1))
    assert {row[0]: row for row in rows(without, "Departures")}["evaluation"][1] == "single view"


def test_what_a_rounded_evaluation_changes(tmp_path: Path) -> None:
    gathered = inputs.gather(make(tmp_path), tmp_path)
    results = [m.result for m in gathered.measured if m.result is not None]
    changed = [r.model_copy(update={"top1_change_points": 0.25 * (-1) ** i}) for i, r in enumerate(results)]
    measured = tuple(dataclasses.replace(m, result=r) for m, r in zip(gathered.measured, changed, strict=True))
    rounded = dataclasses.replace(gathered, measured=measured)
    found = {d.field: d.here for d in departures(inputs.study(rounded), rounded)}
    assert found["evaluation.precision: top-1 error of one view"] == "-0.25 to +0.25 points"
    assert not any("precision" in d.field for d in departures(inputs.study(gathered), gathered))
