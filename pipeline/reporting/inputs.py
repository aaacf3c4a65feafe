"""Everything a report is made from, read and checked: only the runs that params.yaml asks for are let in."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline import data
from pipeline.config import Experiment, RunSpec
from pipeline.errors import UserError
from pipeline.paths import DATA, RESULTS, RUNS
from pipeline.records import Ensembles, Manifest, RunRecord, RunResult, SplitErrors, SplitInfo, read
from pipeline.registration import status
from pipeline.run_store.run_folder import published
from pipeline.run_store.run_key import plan
from pipeline.run_store.tables import GRADIENTS, read_gradients
from resnet.history import Row, last_epoch_images
from resnet.study import Measure, Network, Point, Run, Study


@dataclass(frozen=True, slots=True)
class Inputs:
    """The study that the claims judge and the records it is made of; all by the names of the runs."""

    experiment: Experiment
    manifest: Manifest
    records: dict[str, RunRecord]  # in the order of params.yaml
    histories: dict[str, list[Row]]  # of the same runs
    results: dict[str, RunResult]  # of the runs that were evaluated
    failed: dict[str, dict[str, str]]  # runs that a machine failed to finish: run, key, reason
    ensembles: Ensembles | None
    study: Study

    def by_protocol(self, result: RunResult | None) -> dict[str, SplitErrors | None]:
        """Returns the errors of the headline split by the names of the protocols, the evaluation's own first."""
        if result is None:
            return {}
        return {result.protocol: result.val if self.study.headline == "val" else result.test, **result.protocols}


def gather(experiment: Experiment, root: Path) -> Inputs:
    """Reads the files of an experiment.

    Raises UserError for those that are damaged, or are of another run, other data or other parameters.
    """
    name = experiment.name
    manifest = read(Manifest, root / DATA / name / "manifest.json", f"python -m pipeline prepare {name}")
    records, histories, results, runs = {}, {}, {}, {}
    for spec in plan(experiment, manifest):
        folder = published(spec, root)
        if folder.finished:
            records[spec.name] = record = folder.record()
            result = _result(record, root / RESULTS / name / f"{spec.name}.json")
            if result is not None:
                results[spec.name] = result
            histories[spec.name] = folder.history(record)
            runs[spec.name] = _run(record, result, histories[spec.name], folder.path, manifest)
    failed = root / RUNS / name / "failed.json"
    failures = json.loads(failed.read_bytes()) if failed.is_file() else []
    study = Study(
        experiment=name,
        dataset=manifest.dataset,
        classes=len(manifest.classes),
        train_images=manifest.train.images,
        networks=tuple(network(of_one, runs) for of_one in experiment.by_network().values()),
        headline=data.headline(manifest),
        trial=status(experiment, manifest, root),
    )
    ensembles = _ensembles(experiment, records, root / RESULTS / name / "ensemble.json")
    by_run = {one["run"]: one for one in failures}
    return Inputs(experiment, manifest, records, histories, results, by_run, ensembles, study)


def network(specs: list[RunSpec], runs: dict[str, Run]) -> Network:
    """Returns a network of params.yaml with those of its runs that there are."""
    return Network(
        name=specs[0].network,
        architecture_name=specs[0].architecture_name,
        architecture=specs[0].architecture,
        recipe=specs[0].recipe,
        runs=tuple(runs[spec.name] for spec in specs if spec.name in runs),
        wanted=len(specs),
    )


def percent(split: SplitErrors | None, top: Literal[1, 5] = 1) -> float | None:
    """Returns the error in per cent; None where it was not measured."""
    errors = None if split is None else split.top1_errors if top == 1 else split.top5_errors
    return None if split is None or errors is None or not split.images else 100.0 * errors / split.images


def _result(record: RunRecord, path: Path) -> RunResult | None:
    if not path.is_file():
        return None
    evaluate = f"python -m pipeline evaluate {record.experiment}"
    result = read(RunResult, path, evaluate)
    if (result.key, result.run) != (record.key, record.run):
        keys = f"key {result.key[:12]}, not {record.key[:12]}"
        raise UserError(f"{path}: of another run ({keys}); make it with: {evaluate}")
    return result


def _ensembles(experiment: Experiment, records: dict[str, RunRecord], path: Path) -> Ensembles | None:
    """Returns the ensembles of these very runs; None where there are none."""
    if not path.is_file():
        return None
    evaluate = f"python -m pipeline evaluate {experiment.name}"
    found = read(Ensembles, path, evaluate)
    members = {run: key for one in found.ensembles for run, key in one.members.items()}
    keys = {run: record.key for run, record in records.items()}
    if found.networks != experiment.evaluation.ensemble or not members.items() <= keys.items():
        raise UserError(f"{path}: of other runs or of another `ensemble` of params.yaml; make it with: {evaluate}")
    return found


def _images(manifest: Manifest, result: RunResult | None, augmented: int) -> dict[Measure, int]:
    """Returns how many images each error is a fraction of; `augmented` were counted while the network trained."""
    splits: dict[Measure, SplitInfo | None] = {"val": manifest.val, "test": manifest.test}
    clean: dict[Measure, int] = {"clean": result.train.images} if result else {}
    found: dict[Measure, int] = {name: split.images for name, split in splits.items() if split is not None}
    return {"train": augmented, **clean, **found}


def _run(record: RunRecord, result: RunResult | None, rows: list[Row], folder: Path, manifest: Manifest) -> Run:
    """Returns what the claims read of a run: its record, history and, where it was evaluated, its result."""
    analysis = result.analysis if result else None
    measured: dict[Measure, SplitErrors | None] = {"val": result.val, "test": result.test} if result else {}
    masks = {name: errors.mask() for name, errors in measured.items() if errors is not None}
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
        history=tuple(Point(row.iteration, row.train_top1_error_percent, row.val_top1_error_percent) for row in rows),
        images=_images(manifest, result, last_epoch_images(rows, manifest.train.images, record.recipe["batch_size"])),
        wrong={name: mask for name, mask in masks.items() if mask is not None},
        gradients=read_gradients(folder / GRADIENTS),
        responses=tuple(analysis.responses.values()) if analysis else (),
        variances_at_start=tuple(analysis.variances_at_start.values()) if analysis else (),
        lesions=tuple(analysis.lesions.values()) if analysis else (),
        identity=tuple(analysis.identity) if analysis else (),
        noise=tuple((float(strength), error) for strength, error in analysis.noise.items()) if analysis else (),
    )
