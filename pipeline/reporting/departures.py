"""Every way in which an experiment is not the paper's, found by comparing fields with the paper's values."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from pipeline.config.sections import Evaluation
from pipeline.reporting.inputs import Inputs
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.paper.published import kind
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
WARM_UP_2016 = "lr 0.01 for 400 iterations"  # the CIFAR networks of He et al. 2016
APPENDIX_2016 = "Appendix of He et al. 2016"
OF_2016 = {  # fields of an architecture whose values are a matter of He et al. 2016, and where in it
    "unit": "4, Fig. 4 of He et al. 2016",
    **dict.fromkeys(("shortcut_scale", "residual_scale", "gate", "gate_bias"), "3.1 of He et al. 2016"),
    "shortcut_dropout": "3.1 of He et al. 2016",
}
NOT_OUTCOMES = (  # how often is looked, and where it is computed, not what is trained
    "record_every",
    "validate_every",
    "compile",
    "workers",
    "min_workers",  # see _world_sizes
    "batch_norm_groups",  # see _parts
)
PARTS: dict[Family, tuple[int, int]] = {"imagenet": (8, 32), "cifar": (2, 64)}  # GPUs, each normalising its images


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
        for key in (*_recipe(network), *_world_sizes(network, inputs), *_architecture(network)):
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
    section, paper = SECTION[family(network)], _papers_recipe(network)
    for field in fields(Recipe):
        value, papers = getattr(network.recipe, field.name), paper.get(field.name, field.default)
        if field.name not in NOT_OUTCOMES and value != papers:
            of_2016 = papers == WARM_UP_2016
            yield f"train.{field.name}", show(value), show(papers), APPENDIX_2016 if of_2016 else section
    yield from _parts(network)


def _parts(network: Network) -> Iterator[tuple[str, str, str, str]]:
    """How a batch is normalised, where it is not as a whole on one device."""
    recipe, paper = network.recipe, PARTS[family(network)]
    here = recipe.groups, recipe.batch_size // recipe.groups
    if (recipe.groups > 1 or recipe.workers > 1) and here != paper:
        number, size = here
        text = f"in {number} part(s) of {size} images, on {recipe.workers} worker(s)"
        yield "batch normalisation", text, f"by GPU: {paper[0]} of {paper[1]} images", SECTION[family(network)]


def _world_sizes(network: Network, inputs: Inputs) -> Iterator[tuple[str, str, str, str]]:
    """How many workers trained, where that changed on the way: the same sums, rounded otherwise."""
    texts = []
    for record in (measured.record for measured in inputs.of(network.name)):
        if len(record.world_sizes) > 1:
            (_, first), *others = record.world_sizes
            later = "".join(f", {workers} from iteration {iteration + 1}" for iteration, workers in others)
            texts.append(f"{first}{later} (seed {record.seed})")
    if texts:
        gpus, _ = PARTS[family(network)]
        yield "workers", "; ".join(texts), f"{gpus} GPUs throughout", SECTION[family(network)]


def _papers_recipe(network: Network) -> dict[str, Any]:
    """Of the paper that the network is from."""
    paper, named = dict(PAPER[family(network)]), ARCHITECTURES[network.architecture_name]
    if named.stem == "cifar" and (named.unit != "original" or named.block == "bottleneck"):
        return {**paper, "warm_up": WARM_UP_2016}
    if named.stem == "cifar" and network.architecture.depth == 110 and named.family == "residual":
        return {**paper, "warm_up": RESNET_110_WARM_UP}
    return paper


def _architecture(network: Network) -> Iterator[tuple[str, str, str, str]]:
    named = ARCHITECTURES[network.architecture_name]
    section = "3.3, Table 1" if family(network) == "imagenet" else "4.2"
    for field in fields(Architecture):
        here, paper = getattr(network.architecture, field.name), getattr(named, field.name)
        if here != paper:
            yield f"architecture.{field.name}", show(here), show(paper), OF_2016.get(field.name, section)


def _protocols(used: set[str]) -> Iterator[tuple[str, str, str, str]]:
    """Choices that the paper leaves open."""
    if "10-crop" in used:
        yield "10-crop: corners", "of the whole resized image", "not stated; of its middle in Krizhevsky et al.", "3.4"
    if "multi-scale" in used:
        yield "multi-scale: mean", "the 224x224 mean, resized bilinearly", "not stated", "3.4"
        yield "multi-scale: very long images", "the middle of those longer than 8:1", "not stated", "3.4"


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
        results = [m.result for m in inputs.measured if m.result is not None]
        protocols = {name for result in results for name in (result.protocol, *result.protocols)}
        if not any(kind(name) == "10-crop" for name in protocols):
            yield "evaluation", ", ".join(sorted(protocols)) or "none", "10-crop (Tables 2 and 3)", "3.4"
        asked = inputs.experiment.evaluation.model_dump(exclude={"protocols", "ensemble"}, exclude_defaults=True)
        for name, value in asked.items():
            yield f"evaluation.{name}", show(value), show(Evaluation.model_fields[name].default), "3.4"
        changes = [r.top1_change_points for r in results if r.top1_change_points is not None]
        if changes:
            here = f"{min(changes):+.2f} to {max(changes):+.2f} points"
            yield "evaluation.precision: top-1 error of one view", here, "fp32 throughout", "3.4"
        yield from _protocols({kind(name) for name in protocols})
        yield "headline error", f"{study.headline} split", "ImageNet's validation split", "4.1"
    if "imagenet" in kinds and manifest.colour is None:
        yield "colour augmentation", "none", "along the colours' principal components", "3.4"
    yield "pixels", "per-pixel mean subtracted, then divided by 255", "per-pixel mean subtracted", "3.4, 4.2"
