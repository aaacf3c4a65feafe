"""Everything a report is made from, read and checked: only results of the runs that params.yaml asks for get in."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.config.experiment import Experiment, RunSpec
from pipeline.errors import UserError
from pipeline.evaluation.ensembles import Ensembles
from pipeline.store import gradients
from pipeline.store.records import Manifest, Record, RunRecord, RunResult, SplitErrors, read
from resnet.history import Gradient
from resnet.study import Network, Point, Run, Study

HISTORY = (  # the columns of history.csv, resnet.training.Row
    "iteration",
    "epoch",
    "lr",
    "train_loss",
    "train_top1_error_percent",
    "val_loss",
    "val_top1_error_percent",
    "seconds",
    "unix_time_s",
)


class Failed(Record):
    """A run that a machine failed to finish: not a result."""

    run: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A run that is there; `result` is None before it has been evaluated."""

    spec: RunSpec
    record: RunRecord
    result: RunResult | None
    history: tuple[Point, ...]
    gradients: tuple[Gradient, ...]


@dataclass(frozen=True, slots=True)
class Inputs:
    experiment: Experiment
    manifest: Manifest
    measured: tuple[Measured, ...]  # in the order of params.yaml
    missing: tuple[RunSpec, ...]
    failed: tuple[Failed, ...]
    ensembles: Ensembles | None = None

    def of(self, network: str) -> list[Measured]:
        return [m for m in self.measured if m.spec.network == network]


def gather(experiment: Experiment, root: Path) -> Inputs:
    """Raises UserError for files that are damaged, or are of another run, other data or other parameters."""
    name = experiment.name
    manifest = read(Manifest, root / "data" / name / "manifest.json", f"python -m pipeline.prepare {name}")
    measured, missing = [], []
    for spec in experiment.runs:
        if (root / "runs" / name / spec.name / "run.json").is_file():
            measured.append(_measured(spec, manifest, root))
        else:
            missing.append(spec)
    failed = _failed(root / "runs" / name / "failed.json")
    together = _ensembles(experiment, measured, root)
    return Inputs(experiment, manifest, tuple(measured), tuple(missing), failed, together)


def _measured(spec: RunSpec, manifest: Manifest, root: Path) -> Measured:
    folder = root / "runs" / spec.experiment / spec.name
    train, evaluate = (f"python -m pipeline.{stage} {spec.experiment}" for stage in ("train", "evaluate"))
    record = read(RunRecord, folder / "run.json", train)
    expected: dict[str, Any] = {
        "run": spec.name,
        "experiment": spec.experiment,
        "network": spec.network,
        "seed": spec.seed,
        "architecture": json.loads(json.dumps(asdict(spec.architecture))),
        "recipe": json.loads(json.dumps(asdict(spec.recipe))),
        "data_digest": manifest.digest(),
    }
    for field, value in expected.items():
        if getattr(record, field) != value:
            raise UserError(f"{folder}/run.json: {field} is not that of params.yaml and data/; make it with: {train}")
    path = root / "results" / spec.experiment / f"{spec.name}.json"
    result = read(RunResult, path, evaluate) if path.is_file() else None
    if result is not None and (result.key, result.run) != (record.key, record.run):
        keys = f"key {result.key[:12]}, not {record.key[:12]}"
        raise UserError(f"{path}: of another run ({keys}); make it with: {evaluate}")
    try:
        _evaluated(result)
    except ValueError as error:  # of a strength of the noise, which is text in the file
        raise UserError(f"{path}: damaged ({error}); make it again with: {evaluate}") from None
    history = _history(folder / "history.csv", train)
    return Measured(spec, record, result, history, gradients.read(folder / gradients.NAME, train))


def _history(path: Path, made_by: str) -> tuple[Point, ...]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return tuple(
            Point(
                int(row["iteration"]),
                float(row["train_top1_error_percent"]),
                float(row["val_top1_error_percent"]) if row["val_top1_error_percent"] else None,
            )
            for row in rows
        )
    except FileNotFoundError:
        raise UserError(f"{path}: not there; make it with: {made_by}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); make it again with: {made_by}") from None


def _ensembles(experiment: Experiment, measured: list[Measured], root: Path) -> Ensembles | None:
    """Those of these very runs; None where there are none."""
    path, made_by = (
        root / "results" / experiment.name / "ensemble.json",
        f"python -m pipeline.evaluate {experiment.name}",
    )
    if not path.is_file():
        return None
    found = read(Ensembles, path, made_by)
    keys = {m.spec.name: m.record.key for m in measured}
    members = {run: key for one in found.ensembles for run, key in one.members.items()}
    if found.networks != experiment.evaluation.ensemble or not members.items() <= keys.items():
        raise UserError(f"{path}: of other runs or of another `ensemble` of params.yaml; make it with: {made_by}")
    return found


def _failed(path: Path) -> tuple[Failed, ...]:
    if not path.is_file():
        return ()
    try:
        return tuple(TypeAdapter(list[Failed]).validate_json(path.read_bytes()))
    except ValidationError as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); delete it") from None


def percent(split: SplitErrors | None, top: Literal[1, 5] = 1) -> float | None:
    errors = None if split is None else split.top1_errors if top == 1 else split.top5_errors
    return None if split is None or errors is None or not split.images else 100.0 * errors / split.images


def study(inputs: Inputs) -> Study:
    """The measurements as the claims see them."""
    manifest, experiment = inputs.manifest, inputs.experiment
    networks: dict[str, list[RunSpec]] = {}
    for spec in experiment.runs:
        networks.setdefault(spec.network, []).append(spec)
    return Study(
        experiment=experiment.name,
        dataset=manifest.dataset,
        classes=len(manifest.classes),
        train_images=manifest.train.images,
        networks=tuple(_network(specs, inputs.of(name)) for name, specs in networks.items()),
        headline="val" if manifest.dataset == "imagenet" or manifest.test is None else "test",
    )


def _network(specs: list[RunSpec], measured: list[Measured]) -> Network:
    first = specs[0]
    return Network(
        name=first.network,
        architecture_name=first.architecture_name,
        architecture=first.architecture,
        recipe=first.recipe,
        runs=tuple(_run(m) for m in measured),
        wanted=len(specs),
    )


def _run(m: Measured) -> Run:
    record, result = m.record, m.result
    return Run(
        seed=record.seed,
        diverged=record.status == "diverged",
        train=record.train_top1_error_percent,
        clean=percent(result.train) if result else None,
        val=percent(result.val) if result else record.val_top1_error_percent,
        test=percent(result.test) if result else None,
        parameters=record.parameters,
        multiply_adds=record.multiply_adds,
        warm_up_ended_at=record.warm_up_ended_at,
        history=m.history,
        gradients=m.gradients,
        **_evaluated(result),
    )


def _evaluated(result: RunResult | None) -> dict[str, Any]:
    """The fields of `Run` that the evaluate stage measured by other protocols and inside the network."""
    if result is None:
        return {}
    named = ((name, percent(split)) for name, split in result.protocols.items())
    fields: dict[str, Any] = {"protocols": tuple((name, error) for name, error in named if error is not None)}
    if result.analysis is not None:
        for field in ("responses", "variances_at_start", "lesions"):
            fields[field] = tuple(getattr(result.analysis, field).values())
        fields["noise"] = tuple((float(strength), error) for strength, error in result.analysis.noise.items())
    return fields
