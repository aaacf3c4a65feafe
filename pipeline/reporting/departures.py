"""Every way in which an experiment is not the paper's, found by comparing fields with the paper's values."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from pipeline.reporting.inputs import Inputs
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.recipe import Recipe, WarmUp
from resnet.study import Network, Study

Family = Literal["imagenet", "cifar"]
SECTION: dict[Family, str] = {"imagenet": "3.4", "cifar": "4.2"}
PLATEAU = "divided by 10 when the error plateaus"
CROPS = "a 224x224 crop of an image resized to a shorter side of 256 to 480"
PAPER: dict[Family, dict[str, Any]] = {  # the values of Recipe; text where the paper gives no value of ours
    "imagenet": {
        "batch_size": 256,
        "iterations": 600_000,
        "lr": 0.1,
        "lr_drops": PLATEAU,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "pad": CROPS,
        "flip": True,
        "warm_up": None,
        "precision": "fp32",
    },
    "cifar": {
        "batch_size": 128,
        "iterations": 64_000,
        "lr": 0.1,
        "lr_drops": (32_000, 48_000),
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "pad": 4,
        "flip": True,
        "warm_up": None,
        "precision": "fp32",
    },
}
RESNET_110_WARM_UP = WarmUp(lr=0.01, until_train_error_percent=80)
NOT_OUTCOMES = ("record_every", "validate_every")  # how often is looked, not what is trained


@dataclass(frozen=True, slots=True)
class Departure:
    field: str
    here: str
    paper: str
    section: str
    networks: tuple[str, ...]  # all of the experiment's where it is about the data or the protocol


def departures(study: Study, inputs: Inputs) -> list[Departure]:
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for network in study.networks:
        for key in (*_recipe(network), *_architecture(network)):
            found.setdefault(key, []).append(network.name)
    everyone = tuple(n.name for n in study.networks)
    fixed = [Departure(*key, everyone) for key in _data(study, inputs)]
    return fixed + [Departure(*key, tuple(names)) for key, names in found.items()]


def family(network: Network) -> Family:
    return ARCHITECTURES[network.architecture_name].stem


def show(value: Any) -> str:
    """A value as params.yaml would have it."""
    if isinstance(value, WarmUp):
        return f"lr {value.lr:g} until {value.until_train_error_percent:g} % training error"
    if isinstance(value, tuple):
        return ", ".join(str(v) for v in value) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _recipe(network: Network) -> Iterator[tuple[str, str, str, str]]:
    kind = family(network)
    paper = dict(PAPER[kind])
    if kind == "cifar" and network.architecture.depth == 110 and network.architecture.family == "residual":
        paper["warm_up"] = RESNET_110_WARM_UP
    for field in fields(Recipe):
        value = getattr(network.recipe, field.name)
        if field.name not in NOT_OUTCOMES and value != paper[field.name]:
            yield f"train.{field.name}", show(value), show(paper[field.name]), SECTION[kind]


def _architecture(network: Network) -> Iterator[tuple[str, str, str, str]]:
    named = ARCHITECTURES[network.architecture_name]
    section = "3.3, Table 1" if family(network) == "imagenet" else "4.2"
    for field in fields(Architecture):
        here, paper = getattr(network.architecture, field.name), getattr(named, field.name)
        if here != paper:
            yield f"architecture.{field.name}", show(here), show(paper), section


def _data(study: Study, inputs: Inputs) -> Iterator[tuple[str, str, str, str]]:
    """What is not a field of a recipe: data set, its sizes and how errors are measured."""
    manifest = inputs.manifest
    kinds = {family(network) for network in study.networks}
    if "imagenet" in kinds and manifest.dataset != "imagenet":
        yield "data set", manifest.dataset, "ImageNet 2012", "4.1"
        yield "classes", f"{len(manifest.classes):,}", "1,000", "4.1"
        yield "training images", f"{manifest.train.images:,}", "1.28 million", "4.1"
        yield "validation images", f"{manifest.val.images:,}", "50,000", "4.1"
        yield "image size", f"{manifest.size}x{manifest.size}, {manifest.channels} channel(s)", "224x224, 3", "3.4"
    if "cifar" in kinds and manifest.dataset != "cifar10":
        yield "data set", manifest.dataset, "CIFAR-10", "4.2"
        yield "image size", f"{manifest.size}x{manifest.size}, {manifest.channels} channel(s)", "32x32, 3", "4.2"
    if "cifar" in kinds and (manifest.train.images, manifest.val.images) != (45_000, 5_000):
        here = f"{manifest.train.images:,} + {manifest.val.images:,}"
        yield "training + validation images", here, "45,000 + 5,000", "4.2"
    tested = manifest.test.images if manifest.test is not None else 0
    if "cifar" in kinds and tested != 10_000:
        yield "test images", f"{tested:,}", "10,000", "4.2"
    if "imagenet" in kinds:
        protocols = {m.result.protocol for m in inputs.measured if m.result is not None}
        yield "evaluation", ", ".join(sorted(protocols)) or "none", "10-crop (Tables 2 and 3)", "3.4"
        yield "headline error", f"{study.headline} split", "ImageNet's validation split", "4.1"
    if "imagenet" in kinds and manifest.colour is None:
        yield "colour augmentation", "none", "along the colours' principal components", "3.4"
    yield "pixels", "per-pixel mean subtracted, then divided by 255", "per-pixel mean subtracted", "3.4, 4.2"
