"""Every way in which an experiment is not the paper's, and what it chose where the paper leaves a choice open.

Departures are found by comparing fields with the paper's values: those of resnet/paper/he2015_setup.csv, as text with
the paper's sentence, and for architectures those of `resnet.architectures`. Open choices: he2015_open_choices.csv.
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

Found = Iterator[tuple[str, str, str, str, str]]  # field, here, paper, section, sentence
CROPS = "none; a 224x224 crop of the image resized to a shorter side of 256 to 480"

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
    sentence: str  # of the paper, or of what `section` names; empty for a table
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenChoice:
    """What the paper leaves open."""

    field: str
    here: str
    why: str


def departures(inputs: Inputs) -> list[Departure]:
    """Returns those of data, recipes and architectures; equal ones of networks as one."""
    found: dict[tuple[str, str, str, str, str], list[str]] = {}
    for network in inputs.study.networks:
        here = _data(inputs) | _recipe(network.recipe) | _images(inputs, network)
        for key in (*_differing(here, network), *_architecture(network)):
            found.setdefault(key, []).append(network.name)
    return [Departure(*key, tuple(names)) for key, names in found.items()]


def open_choices(inputs: Inputs) -> list[OpenChoice]:
    """Returns the choices that this experiment made where the paper leaves them open."""
    warm = [network.name for network in inputs.study.networks if network.recipe.warm_up]
    here = _data(inputs) | {"warm-up": ", ".join(warm) or "none"}
    kind_of_images = "photographs" if data.of(inputs.manifest).photographs else "small images"
    families = {ARCHITECTURES[network.architecture_name].stem for network in inputs.study.networks}
    applying = {"all", kind_of_images, *families, *map(kind, _protocols(inputs))}
    rows = [row for row in published.table("he2015_open_choices") if row["applies_to"] in applying]
    return [OpenChoice(row["field"], row["here"] or here[row["field"]], row["why"]) for row in rows]


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
            yield field, here[field], row["paper"], row["section"], row["sentence"]


def _groups(network: Network) -> tuple[str, ...]:
    """Returns the groups of rows that apply to a network; those of few networks are last in the table."""
    named = ARCHITECTURES[network.architecture_name]
    if named.stem == "cifar" and (named.unit != "original" or named.block == "bottleneck"):
        return named.stem, "cifar of 2016"
    return named.stem, f"{named.stem}-{'plain' if named.family == 'plain' else 'resnet'}-{network.architecture.depth}"


def _recipe(recipe: Recipe) -> dict[str, str]:
    here = {f"train.{field.name}": show(getattr(recipe, field.name)) for field in fields(Recipe)}
    return here | {"batch normalisation": f"in {recipe.groups} part(s) of {recipe.batch_size // recipe.groups} images"}


def _images(inputs: Inputs, network: Network) -> dict[str, str]:
    """Returns what a network sees of an image; photographs are cropped in another way than the recipe's `pad` says."""
    architecture = network.architecture
    size = inputs.manifest.size // (4 if architecture.stem == "imagenet" else 1)
    for _ in architecture.blocks[1:]:
        size = (size + 1) // 2
    here = {"last feature maps": f"{size}x{size}"}
    if data.of(inputs.manifest).photographs:
        here["train.pad"] = CROPS
        here["JPEG files"] = "decoded at 1/2, 1/4 or 1/8 in training where that is as fine as the crop"
    return here


def _architecture(network: Network) -> Found:
    """Yields the fields that are not those of the named network; the options of Table 3 are the paper's own."""
    named = ARCHITECTURES[network.architecture_name]
    section = "3.3, Table 1" if named.stem == "imagenet" else "4.2"
    own = {line.shortcut for line in published.table3() if line.name == network.architecture_name}
    for field in fields(Architecture):
        here, paper = getattr(network.architecture, field.name), getattr(named, field.name)
        if here != paper and not (field.name == "shortcut" and here in own):
            yield f"architecture.{field.name}", show(here), show(paper), OF_2016.get(field.name, section), ""


def _data(inputs: Inputs) -> dict[str, str]:
    """Returns what was trained on and how it was measured."""
    manifest, dataset = inputs.manifest, data.of(inputs.manifest)
    train, val, test = manifest.train.images, manifest.val.images, (manifest.test or manifest.val).images
    here = {
        "data set": dataset.title,
        "classes": f"{len(manifest.classes):,}",
        "training images": f"{train / 1e6:.2f} million" if train >= 1e6 else f"{train:,}",
        "validation images": f"{val:,}",
        "test images": f"{test:,}",
        "image size": f"{manifest.size}x{manifest.size}, {manifest.channels} channel(s)",
        "headline error": "ImageNet's validation split" if dataset.name == "imagenet" else "test split",
        "pixels": "per-pixel mean subtracted, then divided by 255",
    }
    if manifest.colour is None:
        here["colour augmentation"] = "none"
    return here | _evaluation(inputs)


def _evaluation(inputs: Inputs) -> dict[str, str]:
    here = {f"evaluation.{name}": show(value) for name, value in inputs.experiment.evaluation}
    changes = [result.top1_change_points for result in inputs.results.values() if result.top1_change_points is not None]
    if changes:
        here["evaluation.precision: top-1 error of one view"] = f"{min(changes):+.2f} to {max(changes):+.2f} points"
    protocols = _protocols(inputs)
    if "10-crop" not in map(kind, protocols):
        here["evaluation"] = ", ".join(sorted(protocols)) or "none"
    return here


def _protocols(inputs: Inputs) -> set[str]:
    return {name for result in inputs.results.values() for name in (result.protocol, *result.protocols)}
