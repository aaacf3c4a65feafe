"""Every way in which an experiment is not the paper's, found by comparing fields with the paper's values.

The paper's values are in resnet/paper/he2015_setup.csv, as text, and for architectures in `resnet.architectures`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline import data
from pipeline.reporting.inputs import Inputs
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.paper import published
from resnet.paper.published import kind
from resnet.recipe import Recipe, WarmUp
from resnet.study import Network

Found = Iterator[tuple[str, str, str, str]]  # field, here, paper, section

OF_2016 = {  # fields of an architecture whose values are a matter of He et al. 2016, and where in it
    "unit": "4, Fig. 4 of He et al. 2016",
    **dict.fromkeys(("shortcut_scale", "residual_scale", "gate", "gate_bias"), "3.1 of He et al. 2016"),
    "shortcut_dropout": "3.1 of He et al. 2016",
}


@dataclass(frozen=True, slots=True)
class Departure:
    field: str
    here: str
    paper: str
    section: str
    networks: tuple[str, ...]


def departures(inputs: Inputs) -> list[Departure]:
    """Returns those of data, recipes and architectures; equal ones of networks as one."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for network in inputs.study.networks:
        here = _data(inputs) | _recipe(network.recipe)
        for key in (*_differing(here, network), *_architecture(network)):
            found.setdefault(key, []).append(network.name)
    return [Departure(*key, tuple(names)) for key, names in found.items()]


def show(value: Any) -> str:
    """Returns a value as params.yaml has it."""
    if isinstance(value, WarmUp):
        return f"lr {value.lr:g} until {value.until_train_error_percent:g} % training error"
    if isinstance(value, tuple):
        return ", ".join(str(v) for v in value) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _differing(here: Mapping[str, str], network: Network) -> Found:
    """Yields the fields of the paper's setup of this network that have another value here."""
    groups = _groups(network)
    rows = {row["field"]: row for row in published.table("he2015_setup") if row["networks"] in groups}
    for field, row in rows.items():
        if field in here and here[field] != row["paper"]:
            yield field, here[field], row["paper"], row["section"]


def _groups(network: Network) -> tuple[str, ...]:
    """Returns the groups of rows that apply to a network; those of few networks are last in the table."""
    named = ARCHITECTURES[network.architecture_name]
    if named.stem == "cifar" and (named.unit != "original" or named.block == "bottleneck"):
        return named.stem, "cifar of 2016"
    if (named.stem, named.family, network.architecture.depth) == ("cifar", "residual", 110):
        return named.stem, "cifar-resnet-110"
    return (named.stem,)


def _recipe(recipe: Recipe) -> dict[str, str]:
    here = {f"train.{field.name}": show(getattr(recipe, field.name)) for field in fields(Recipe)}
    if recipe.groups > 1 or recipe.workers > 1:
        size = recipe.batch_size // recipe.groups
        here["batch normalisation"] = f"in {recipe.groups} part(s) of {size} images"
    return here


def _architecture(network: Network) -> Found:
    named = ARCHITECTURES[network.architecture_name]
    section = "3.3, Table 1" if named.stem == "imagenet" else "4.2"
    for field in fields(Architecture):
        here, paper = getattr(network.architecture, field.name), getattr(named, field.name)
        if here != paper:
            yield f"architecture.{field.name}", show(here), show(paper), OF_2016.get(field.name, section)


def _data(inputs: Inputs) -> dict[str, str]:
    """Returns what was trained on and how it was measured; what the paper leaves open has a value here too."""
    manifest = inputs.manifest
    train, val, test = (split.images if split else 0 for split in (manifest.train, manifest.val, manifest.test))
    here = {
        "data set": data.of(manifest).title,
        "classes": f"{len(manifest.classes):,}",
        "training images": f"{train / 1e6:.2f} million" if train >= 1e6 else f"{train:,}",
        "validation images": f"{val:,}",
        "training + validation images": f"{train:,} + {val:,}",
        "test images": f"{test:,}",
        "image size": f"{manifest.size}x{manifest.size}, {manifest.channels} channel(s)",
        "headline error": f"{inputs.study.headline} split",
        "pixels": "per-pixel mean subtracted, then divided by 255",
    }
    if manifest.colour is None:
        here["colour augmentation"] = "none"
    return here | _evaluation(inputs)


def _evaluation(inputs: Inputs) -> dict[str, str]:
    results = list(inputs.results.values())
    protocols = {name for result in results for name in (result.protocol, *result.protocols)}
    kinds = {kind(name) for name in protocols}
    here = {f"evaluation.{name}": show(value) for name, value in inputs.experiment.evaluation}
    changes = [result.top1_change_points for result in results if result.top1_change_points is not None]
    if changes:
        here["evaluation.precision: top-1 error of one view"] = f"{min(changes):+.2f} to {max(changes):+.2f} points"
    if "10-crop" in kinds:
        here["10-crop: corners"] = "of the whole resized image"
    else:
        here["evaluation"] = ", ".join(sorted(protocols)) or "none"
    if "multi-scale" in kinds:
        here["multi-scale: mean"] = "the 224x224 mean, resized bilinearly"
        here["multi-scale: very long images"] = "the middle of those longer than 8:1"
    return here
