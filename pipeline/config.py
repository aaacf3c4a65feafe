"""params.yaml, read once into frozen and checked values. A mistake is one line: the key, what is allowed, the value.

What a number means is a comment next to it, with its place in the paper.
"""

import dataclasses
import difflib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError, with_config
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.data import DATASETS, of
from pipeline.data.data_set import DataSection, Section
from pipeline.errors import UserError
from pipeline.messages import redact_userinfo
from pipeline.paths import PARAMS as PARAMS
from pipeline.paths import REGISTRATIONS, TAKEN
from pipeline.records import Registration, read
from pipeline.storage import PLACES, is_place
from resnet.architectures import Architecture, architecture
from resnet.recipe import Precision, Recipe, WarmUp

SHARED_KEYS = ("experiments", "storage")
MAX_RUNS = 10_000  # of an experiment; the keys of as many take seconds
MAX_BYTES, MAX_VALUES = 2**17, 100_000  # of a file; its parser takes seconds for as many
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # names become parts of paths

T = TypeVar("T")

for _plain in (Architecture, Recipe, WarmUp):
    with_config(ConfigDict(extra="forbid", strict=True))(_plain)


def shown(value: Any) -> str:
    """Returns a value as a part of a one-line message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ", did you mean ...?", or nothing where no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _data_section(value: Any) -> DataSection:
    name = value.get("dataset") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {shown(name)}")
    return DATASETS[name].section.model_validate(value)


def _gpus(value: Any) -> float | Literal["auto"]:
    if value == "auto" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1):
        return value  # type: ignore[no-any-return]
    raise ValueError("must be auto or a number from 0 to 1")


def _each_once(values: list[T]) -> list[T]:
    if len(set(values)) != len(values):
        raise ValueError("each value once")
    return values


def _rising(values: list[int]) -> list[int]:
    if sorted(set(values)) != values:
        raise ValueError("must rise, each once")
    return values


def _field(name: str) -> str:
    known = [one.name for kind in (Architecture, Recipe) for one in dataclasses.fields(kind)]
    if name not in known:
        raise ValueError(f"must be a field of `architecture` or `train`{nearest(name, known)}")
    return name


Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=1000), AfterValidator(_each_once)]
Looks = Annotated[list[Annotated[int, Field(ge=1, le=1000)]], AfterValidator(_rising)]
Rates = Annotated[list[Annotated[float, Field(gt=0, le=100)]], Field(min_length=2), AfterValidator(_each_once)]
Protocols = Annotated[list[Literal["10-crop", "multi-scale"]], AfterValidator(_each_once)]


class NetworkSection(Section):
    """One row of the comparison: what differs from the experiment's own `architecture`, `train` and `seeds`."""

    network: str | None = None  # name in resnet.architectures; by default the row's own name
    architecture: dict[str, Any] = Field(default={})  # what differs from the experiment's and from the named network
    train: dict[str, Any] = Field(default={})  # what differs from the experiment's
    seeds: Seeds | None = None  # by default the experiment's


class Resources(Section):
    """What one run takes of the cluster."""

    cpus: Annotated[int, Field(ge=1, le=1024)] = 1  # and threads
    gpus: Annotated[float | Literal["auto"], PlainValidator(_gpus)] = "auto"  # with a fraction, runs share a device
    retries: Annotated[int, Field(ge=0, le=100)] = 3  # of a run whose worker died
    checkpoint_s: Annotated[float, Field(gt=0, le=86400)] = 5.0  # seconds of work that a kill costs at most
    wait_s: Annotated[float, Field(ge=0, le=604800)] = 600.0  # for nodes, where the cluster has become too small
    price_per_hour: Annotated[float, Field(ge=0)] | None = None  # of one machine, in any currency; for `plan` only


class Evaluation(Section):
    """What is measured of finished runs. Decides no run's key."""

    protocols: Protocols = Field(default=[])  # Sec. 3.4: Tables 2 and 3, Tables 4 and 5
    averaging: Literal["softmax", "logits"] = "softmax"  # of what the mean over views is taken; fb.resnet.torch: logits
    precision: Precision = "fp32"  # of the protocols; its effect on the top-1 error of one view is reported
    multi_scale_flips: bool = False  # whether multi-scale sees mirror images too, of which the paper says nothing
    reestimate_batch_norm: bool = False  # running statistics as means over training batches, as the authors' are
    # Rows of `networks` (Table 5); a row that is listed twice gives two of its seeds.
    ensemble: Annotated[list[str], Field(min_length=2)] = Field(default=[])


class TrialSection(Section):
    """How the experiment is judged. Decides no run's key."""

    odds_ratio: Annotated[float, Field(gt=1, le=100)] = 1.1  # of two errors; a smaller difference does not count
    looks: Looks = Field(default=[])  # seeds of each network at each planned look: the first of its `seeds`
    along: Annotated[str, AfterValidator(_field)] = "blocks"  # in what the networks of a ladder differ
    until_decided: bool = False  # whether `train` without a flag, and so `dvc repro`, takes look after look


class PilotSection(Section):
    """How the pilot chooses each network's learning rate, which replaces `train.lr` in every row."""

    seeds: Seeds  # none of the judged ones
    lr: Rates  # the grid
    rule: Literal["lowest training loss"] = "lowest training loss"  # over the last tenth of the iterations


class ExperimentSection(Section):
    """A section of params.yaml. `architecture` and `train` are checked for each row, merged with the row's own."""

    data: Annotated[DataSection, PlainValidator(_data_section)]  # a mapping; the other keys depend on `dataset`
    architecture: dict[str, Any] = Field(default={})  # fields that all networks change
    train: dict[str, Any]  # the recipe
    seeds: Seeds  # of every network
    # What is compared, by names of your own; a name of resnet.architectures alone is that network.
    networks: Annotated[dict[Annotated[str, Field(pattern=NAME)], NetworkSection | None], Field(min_length=1)]
    resources: Resources = Resources()  # what one run takes
    evaluation: Evaluation = Evaluation()  # what is measured of finished runs
    trial: TrialSection = TrialSection()  # how the experiment is judged
    pilot: PilotSection | None = None  # how learning rates are chosen


# Keys of a section that a registration does not fix; the source of the data is a place, their digest is fixed.
DECIDES_NO_RESULT: dict[str, Any] = {"resources": True, "evaluation": True, "data": {"source"}}
OF_A_SECTION = (NetworkSection, Resources, Evaluation, TrialSection, PilotSection)
SECTIONS = (ExperimentSection, *OF_A_SECTION, Architecture, Recipe, WarmUp)
KEYS = {key for kind in (*SECTIONS, *(row.section for row in DATASETS.values())) for key in kind.__annotations__}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """What a run trains: one network with one seed in one experiment."""

    experiment: str
    network: str  # the row's name in `networks`
    architecture_name: str  # in resnet.architectures
    architecture: Architecture
    recipe: Recipe
    seed: int
    key: str = ""  # the run key, once the data are known (pipeline.run_store.run_key.plan)

    @property
    def name(self) -> str:
        return f"{self.network}-seed{self.seed}"

    @property
    def row(self) -> str:
        """The row of `networks` that it is of: a pilot's run has its learning rate in the name too."""
        return self.network.removesuffix(f"-lr{self.recipe.lr}")

    def with_lr(self, lr: float) -> "RunSpec":
        return replace(self, recipe=replace(self.recipe, lr=lr))


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A section of params.yaml, complete: every run with its architecture and recipe."""

    name: str
    data: DataSection
    runs: tuple[RunSpec, ...]  # of the looks that were taken, at least of the first; all without planned looks
    resources: Resources
    storage: str
    evaluation: Evaluation
    trial: TrialSection
    pilot: PilotSection | None
    planned: tuple[RunSpec, ...]  # the runs of all seeds
    section: dict[str, Any]  # what a registration fixes, as plain values
    registration: Registration | None

    def by_network(self) -> dict[str, list[RunSpec]]:
        """Returns the runs of each row, in the order of params.yaml."""
        rows: dict[str, list[RunSpec]] = {}
        for run in self.runs:
            rows.setdefault(run.network, []).append(run)
        return rows

    def pilot_runs(self) -> tuple[RunSpec, ...]:
        """Returns a run for each network, rate and seed of the pilot."""
        assert self.pilot is not None
        runs = [rows[0].with_lr(lr) for rows in self.by_network().values() for lr in self.pilot.lr]
        named = [replace(run, network=f"{run.network}-lr{run.recipe.lr}") for run in runs]
        return tuple(replace(run, seed=seed) for run in named for seed in self.pilot.seeds)

    def at(self, look: int) -> "Experiment":
        """Returns the experiment as its planned look number `look` sees it: with the first seeds of each network."""
        if not (looks := self.trial.looks):
            return self
        seeds = looks[min(max(look, 1), len(looks)) - 1]
        rows = replace(self, runs=self.planned).by_network().values()
        return replace(self, runs=tuple(run for row in rows for run in row[:seeds]))

    def only(self, networks: list[str]) -> "Experiment":
        """Returns the experiment with some of its networks. Raises UserError for one that it does not have."""
        rows = self.by_network()
        for name in networks:
            if name not in rows:
                raise UserError(f"--only {name}: {self.name} has {', '.join(rows)}")
        return replace(self, runs=tuple(run for run in self.runs if run.network in networks))


def load(name: str, path: Path = PARAMS) -> Experiment:
    """Returns the experiment `name` of params.yaml, checked as a whole. Raises UserError.

    Its registration, next to the file, says which looks were taken and which learning rates the pilot chose.
    """
    content = read_yaml(path)
    experiments = [key for key in content if key not in SHARED_KEYS]
    if unknown := [key for key in experiments if not isinstance(content[key], Mapping)]:
        raise UserError(f"{path}: {unknown[0]}: unknown key{nearest(unknown[0], SHARED_KEYS)}")
    if name not in experiments:
        hint = nearest(name, experiments)
        raise UserError(f"{path}: no experiment {shown(name)}{hint}; there are {', '.join(experiments)}")
    storage = storage_of(content, path)
    where = f"{path}: {name}"
    section = _validate(ExperimentSection, content[name], where)
    registration = _registration(path.parent / REGISTRATIONS / f"{name}.json")
    rates = registration.rates if registration and section.pilot else {}
    rows = [(row, network or NetworkSection()) for row, network in section.networks.items()]
    _check_number(section, [network for _, network in rows], where)
    runs = tuple(run for row, network in rows for run in _runs(name, row, section, network, where))
    runs = tuple(run.with_lr(rates.get(run.network, run.recipe.lr)) for run in runs)
    experiment = Experiment(
        name=name,
        data=section.data,
        runs=runs,
        resources=section.resources,
        storage=storage,
        evaluation=section.evaluation,
        trial=section.trial,
        pilot=section.pilot,
        planned=runs,
        section=section.model_dump(mode="json", serialize_as_any=True, exclude=DECIDES_NO_RESULT),
        registration=registration,
    )
    _check_evaluation(experiment, f"{where}.evaluation")
    if len(section.seeds) < max(section.trial.looks, default=0):
        what = f"the last look takes {section.trial.looks[-1]} seeds of each network, `seeds` has {len(section.seeds)}"
        raise UserError(f"{where}.trial.looks: {what}; list more seeds")
    return experiment.at(len(registration.log) if registration else 1)


def storage_of(content: dict[str, Any], path: Path = PARAMS) -> str:
    """Returns the run store that params.yaml names, without `~`. Raises UserError where a command could delete it."""
    storage = content.get("storage", ".runs")
    if not is_place(storage):
        raise UserError(f"{path}: storage must be {PLACES}, got {redact_userinfo(shown(storage))}")
    if "://" in storage:
        return storage
    expanded = os.path.expanduser(storage)
    if expanded.startswith("~") or re.search(r"\$[\w{]", storage):
        raise UserError(
            f"{path}: storage: variables and unknown ~users are not expanded, got {shown(storage)}; write it out"
        )
    store = os.path.realpath(path.parent / expanded)
    inside = [folder for folder in TAKEN if Path(store).is_relative_to(os.path.realpath(path.parent / folder))]
    if inside or store == os.path.realpath(path.parent):
        what = f"{shown(storage)} is {f'in {inside[0]}/' if inside else 'the checkout'}, where commands replace files"
        raise UserError(f"{path}: storage: {what}; set a folder for the run store alone, such as .runs")
    return expanded


def listed(path: Path = PARAMS) -> list[str]:
    """Returns the names under `experiments`. Raises UserError for anything but a list of names."""
    names = read_yaml(path).get("experiments") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: experiments must be a list of names, got {shown(names)}")
    return names


def _registration(path: Path) -> Registration | None:
    return read(Registration, path, f"git checkout {path}") if path.is_file() else None


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping of a YAML file. Raises UserError, with the line, for anything else."""
    try:
        _check_size(path)
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run from the top of the checkout, where dvc.yaml is") from None
    except (YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; close the brackets, or write fewer levels") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must have keys and values, got {shown(content)}")
    _check_values(content, path)
    return content


def _check_size(path: Path) -> None:
    """Raises UserError for a file that has no end or takes too long to read, and OSError."""
    found = path.stat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise UserError(f"{path}: is a pipe or a device; replace it by a file")
    if found.st_size > MAX_BYTES:
        raise UserError(f"{path}: must be at most {MAX_BYTES:,} bytes, got {found.st_size:,}; move a part elsewhere")


def _check_values(content: dict[Any, Any], path: Path) -> None:
    """Raises UserError for keys that are no text, and for aliases that repeat too many values or themselves."""
    number, left = 0, [content]
    while left:
        value, number = left.pop(), number + 1
        if number > MAX_VALUES:
            what = f"more than {MAX_VALUES:,} values, with those of aliases"
            raise UserError(f"{path}: {what}; write fewer, and no alias (*name) within its own value")
        if isinstance(value, dict):
            if other := [key for key in value if not isinstance(key, str)]:
                raise UserError(f"{path}: key {shown(other[0])}: keys must be text; put it in quotes")
            left += value.values()
        elif isinstance(value, list):
            left += value


def ensembles(experiment: Experiment) -> list[list[RunSpec]]:
    """Returns the runs of each ensemble: the first has the first seeds of each row, the next one the seeds after them,
    until a row has too few; no run is in two of them."""
    runs, times = experiment.by_network(), Counter(experiment.evaluation.ensemble)
    number = min((len(runs[row]) // n for row, n in times.items()), default=0)
    return [[run for row, n in times.items() for run in runs[row][i * n : (i + 1) * n]] for i in range(number)]


def _runs(name: str, row: str, section: ExperimentSection, network: NetworkSection, where: str) -> list[RunSpec]:
    known = network.network or row
    try:
        base = dataclasses.asdict(architecture(known))
    except ValueError as error:
        raise UserError(f"{where}.networks.{row}: {error}") from None

    def merged(kind: type[T], part: str, base: dict[str, Any]) -> T:
        general, special = getattr(section, part), getattr(network, part)
        place = f"{where}.networks.{row}.{part}" if special else f"{where}.{part}"
        return _validate(kind, {**base, **general, **special}, place)

    recipe = merged(Recipe, "train", {})
    built = merged(Architecture, "architecture", base)
    return [
        RunSpec(experiment=name, network=row, architecture_name=known, architecture=built, recipe=recipe, seed=seed)
        for seed in (section.seeds if network.seeds is None else network.seeds)
    ]


def _validate(kind: type[T], value: Any, where: str) -> T:
    """Returns `kind` from plain values. Strict JSON takes a list as a tuple and 1 as a float, and converts no more."""
    try:
        valid: T = _adapter(cast(Hashable, kind)).validate_json(json.dumps(value, default=str))
        return valid
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if part != "[key]"]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        message = f"unknown key{nearest(path[-1], KEYS)}"
    elif first["type"] != "missing" and path and path != ["data"]:
        message += f", got {shown(first['input'])}"
    raise UserError(f"{'.'.join([where, *path])}: {message}")


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def _check_number(section: ExperimentSection, networks: list[NetworkSection], where: str) -> None:
    """Raises UserError where the judged runs or those of the pilot are too many to list."""
    pilot = section.pilot
    numbers = {
        "seeds": sum(len(network.seeds or section.seeds) for network in networks),
        "pilot": len(networks) * len(pilot.lr) * len(pilot.seeds) if pilot else 0,
    }
    for key, number in numbers.items():
        if number > MAX_RUNS:
            how = "list fewer seeds or networks, or make several experiments of it"
            raise UserError(f"{where}.{key}: {number:,} runs, must be at most {MAX_RUNS:,}; {how}")


def _check_evaluation(experiment: Experiment, where: str) -> None:
    """Raises UserError for what the data set and the rows of an experiment cannot give."""
    evaluation, dataset, runs = experiment.evaluation, experiment.data.dataset, experiment.by_network()
    if evaluation.protocols and not of(dataset).photographs:
        raise UserError(f"{where}.protocols: images of {dataset} have a single view (Sec. 4.2); leave the key out")
    for row, times in Counter(evaluation.ensemble).items():
        if times > (seeds := len(runs.get(row, []))):
            raise UserError(f"{where}.ensemble: {row} is listed {times} times and has {seeds} seeds in `networks`")
