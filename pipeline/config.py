"""params.yaml, parsed once at the edge into frozen values; every mistake named by key, value and what is allowed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config

from pipeline import evaluation_section
from pipeline.errors import UserError
from pipeline.evaluation_section import Evaluation
from pipeline.storage import PLACES, is_place, without_password
from pipeline.yaml_file import nearest, read_yaml, shown
from resnet.architectures import Architecture, architecture
from resnet.recipe import Recipe, WarmUp

PARAMS = Path("params.yaml")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # names become parts of paths
NAME_RULE = "a name has 1 to 64 letters, digits, dots, dashes and underscores and begins with a letter or digit"
SHARED_KEYS = ("experiments", "storage")
T = TypeVar("T")
Place = tuple[str, Mapping[str, Any]]  # where a table stands, for messages, and the table

_STRICT = ConfigDict(extra="forbid", strict=True)  # with JSON as the input: see _validate
for _plain in (Architecture, Recipe, WarmUp):
    with_config(_STRICT)(_plain)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Digits(Section):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels."""

    dataset: Literal["digits"]
    validation: Annotated[int, Field(ge=1, le=1000)]  # images held out for the curves
    test: Annotated[int, Field(ge=1, le=1000)]  # images that decide nothing


class Cifar10(Section):
    """The binary version of CIFAR-10 (Sec. 4.2)."""

    dataset: Literal["cifar10"]
    source: str | None = None  # folder with cifar-10-binary.tar.gz or cifar-10-batches-bin/; null downloads it
    validation: Annotated[int, Field(ge=1, le=25_000)]  # of the 50,000 training images (Sec. 4.2: 5,000)


class Folder(Section):
    """A tree SPLIT/CLASS/IMAGE of JPEG and PNG files, or CLASS/IMAGE, split by content."""

    dataset: Literal["folder"]
    source: str
    validation: Annotated[float, Field(gt=0, lt=0.5)]  # share of the images where there is no val/
    test: Annotated[float, Field(gt=0, lt=0.5)]  # share of the images where there is no test/


class ImageNet(Section):
    """ILSVRC2012 as train/WNID/*.JPEG and val/WNID/*.JPEG; the 50,000 validation images are the paper's `val`."""

    dataset: Literal["imagenet"]
    source: str


DATASETS: dict[str, type[Section]] = {"digits": Digits, "cifar10": Cifar10, "folder": Folder, "imagenet": ImageNet}
Data = Annotated[Digits | Cifar10 | Folder | ImageNet, Field(discriminator="dataset")]
Seeds = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1, max_length=1000)]


class NetworkSection(Section):
    """One row of the comparison: what differs from the experiment's own `architecture`, `train` and `seeds`."""

    network: str | None = None  # name in resnet.architectures; by default the row's own name
    architecture: dict[str, Any] = {}
    train: dict[str, Any] = {}
    seeds: Seeds | None = None


class Resources(Section):
    """What one run takes of the cluster."""

    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    gpus: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"  # shares let several runs have one device
    retries: Annotated[int, Field(ge=0, le=100)] = 3  # of a run that is lost with its worker
    checkpoint_s: Annotated[float, Field(gt=0, le=86400)] = 5.0  # seconds of work that a kill costs at most
    wait_s: Annotated[float, Field(ge=0, le=604800)] = 600.0  # for nodes, where the cluster has shrunk below a run


class ExperimentSection(Section):
    data: Data
    architecture: dict[str, Any] = {}
    train: dict[str, Any]
    seeds: Seeds
    networks: Annotated[dict[Annotated[str, Field(pattern=NAME)], NetworkSection | None], Field(min_length=1)]
    resources: Resources = Resources()
    evaluation: Evaluation = Evaluation()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """One network, one seed: a run before its data are known."""

    experiment: str
    network: str  # the row's name in `networks`
    architecture_name: str  # in resnet.architectures
    architecture: Architecture
    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        return f"{self.network}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    name: str
    data: Digits | Cifar10 | Folder | ImageNet
    runs: tuple[RunSpec, ...]
    resources: Resources
    storage: str
    evaluation: Evaluation

    def only(self, networks: list[str]) -> "Experiment":
        """The same with some of its networks. Raises UserError for one that it does not have."""
        have = list(dict.fromkeys(run.network for run in self.runs))
        for name in networks:
            if name not in have:
                raise UserError(f"--only {name}: {self.name} has {', '.join(have)}")
        return replace(self, runs=tuple(run for run in self.runs if run.network in networks))


def load(name: str, path: Path = PARAMS) -> Experiment:
    """The experiment `name` of params.yaml, checked as a whole. Raises UserError."""
    content = read_yaml(path)
    experiments = _experiments(content, path)
    if name not in experiments:
        raise UserError(
            f"{path}: no experiment {shown(name)}{nearest(name, experiments)}; there are {', '.join(experiments)}"
        )
    if not is_place(storage := content.get("storage", ".runs")):
        raise UserError(f"{path}: storage must be {PLACES}, got {without_password(shown(storage))}")
    section = _validate(ExperimentSection, content[name], f"{path}: {name}")
    rows = [(row, network or NetworkSection()) for row, network in section.networks.items()]
    experiment = Experiment(
        name=name,
        data=section.data,
        runs=tuple(run for row, network in rows for run in _runs(name, row, section, network, str(path))),
        resources=section.resources,
        storage=storage,
        evaluation=section.evaluation,
    )
    evaluation_section.check(experiment, f"{path}: {name}.evaluation")
    return experiment


def _experiments(content: Mapping[str, Any], path: Path) -> list[str]:
    """The names of the sections, once the file's top level is as it must be."""
    experiments = [key for key in content if key not in SHARED_KEYS]
    for key in experiments:
        if not isinstance(content[key], Mapping):
            hint = nearest(key, list(SHARED_KEYS))
            raise UserError(
                f"{path}: {_part(key)}: unknown key{hint}; allowed: {', '.join(SHARED_KEYS)} and experiments' sections"
            )
        if not re.fullmatch(NAME, key):
            raise UserError(f"{path}: {_part(key)}: {NAME_RULE}, got {shown(key)}")
    listed = content.get("experiments", [])
    if not isinstance(listed, list):
        raise UserError(f"{path}: experiments must be a list of names, got {shown(listed)}")
    for entry in listed:
        if entry not in experiments:
            hint = nearest(str(entry), experiments)
            raise UserError(f"{path}: experiments: no section {shown(entry)}{hint}; there are {', '.join(experiments)}")
    return experiments


def _runs(name: str, row: str, section: ExperimentSection, network: NetworkSection, path: str) -> list[RunSpec]:
    general, special = f"{path}: {name}", f"{path}: {name}.networks.{row}"
    known = network.network or row
    try:
        base = architecture(known)
    except ValueError as error:
        raise UserError(f"{special}: {error}") from None
    table = {field.name: getattr(base, field.name) for field in fields(Architecture)}
    built = _merged(
        Architecture,
        table,
        (f"{general}.architecture", section.architecture),
        (f"{special}.architecture", network.architecture),
    )
    recipe = _merged(Recipe, {}, (f"{general}.train", section.train), (f"{special}.train", network.train))
    if recipe.min_workers is not None and built.shortcut_dropout > 0:
        raise UserError(f"{special}: train.min_workers must be null with shortcut_dropout, which workers draw apart")
    seeds, place = (section.seeds, general) if network.seeds is None else (network.seeds, special)
    if len(set(seeds)) != len(seeds):
        raise UserError(f"{place}.seeds: each seed once, got {shown(seeds)}")
    return [
        RunSpec(experiment=name, network=row, architecture_name=known, architecture=built, recipe=recipe, seed=seed)
        for seed in seeds
    ]


def _merged(kind: type[T], table: Mapping[str, Any], general: Place, special: Place) -> T:
    """`kind` from defaults, the experiment's values and the row's, and errors that name the place of the value."""
    places = dict.fromkeys(special[1], special[0]) | {"": special[0] if special[1] else general[0]}
    return _validate(kind, {**table, **general[1], **special[1]}, general[0], places)


def _validate(kind: type[T], value: Any, where: str, places: Mapping[str, str] | None = None) -> T:
    """`kind` from plain values, strictly: JSON's rules take 1 for a float and a list for a tuple, and no more."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path, message = [str(part) for part in first["loc"]], first["msg"].removeprefix("Value error, ")
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = _keys(kind, path[:-1])
        message = f"unknown key{nearest(path[-1], allowed)}; allowed: {', '.join(allowed)}"
    elif first["type"] == "missing":
        message = "missing; every value of an experiment is written out"
    elif first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path.append("dataset")
        message = f"must be one of {', '.join(DATASETS)}, got {shown(first['input'].get('dataset'))}"
    elif path[-1:] == ["[key]"]:
        message = f"{NAME_RULE}, got {shown(path[-2])}"
    elif path[:2] == ["resources", "gpus"]:
        path, message = path[:2], f"must be auto or a number from 0 to 1, got {shown(first['input'])}"
    elif path:
        for theirs, ours in (("Input should", "must"), ("an object", "keys and values"), ("a valid array", "a list")):
            message = message.replace(theirs, ours)
        message += f", got {shown(first['input'])}"
    if path[:1] == ["data"] and path[1:2] and path[1] in DATASETS:
        del path[1]  # pydantic's name for the branch
    place = (places or {}).get(path[0] if path else "", where)
    raise UserError(f"{'.'.join([place, *(_part(part) for part in path if part != '[key]')])}: {message}")


def _part(key: str) -> str:
    return key if key.isprintable() and len(key) <= 80 else shown(key)


def _keys(kind: type, path: list[str]) -> list[str]:
    """The keys allowed at `path` inside `kind`."""
    inside = {"warm_up": WarmUp, "resources": Resources, "evaluation": Evaluation, "networks": NetworkSection}
    inner: type = DATASETS[path[1]] if path[:1] == ["data"] else inside.get("".join(path[:1]), kind)
    return list(inner.__annotations__)
