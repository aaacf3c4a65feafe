"""Made-up runs and results in a temporary folder: what the report stage reads, without training anything."""

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.experiment import Experiment, RunSpec
from pipeline.config.params import load
from pipeline.reporting.inputs import HISTORY
from pipeline.store import gradients
from pipeline.store.records import File, Manifest, RunRecord, RunResult, SplitErrors, SplitInfo, write_json
from tests import inside_maker
from tests.inside_maker import Inside
from tests.params_maker import params, write

EXPERIMENT = "tiny"
FINAL = {  # final training error in per cent, roughly what the embedded digits give
    "plain-18": 3.3,
    "plain-34": 50.9,
    "resnet-18": 1.6,
    "resnet-34": 1.7,
    "resnet-50": 2.0,
    "cifar-plain-20": 12.0,
    "cifar-plain-56": 60.0,
    "cifar-resnet-20": 1.3,
    "cifar-resnet-56": 1.0,
}
PEAK = 2e11  # multiply-adds a second of the made-up device
NO_FILE = File(path="mean.npy", bytes=0, sha256="0" * 64)


@dataclass(frozen=True, kw_only=True)
class Made(Inside):
    """What the made-up experiment is like; `changes` override parameters."""

    networks: tuple[str, ...] = ("plain-18", "plain-34", "resnet-18", "resnet-34")
    seeds: int = 3
    spread: float = 0.4
    diverged: tuple[str, ...] = ()  # runs
    leave_out: tuple[str, ...] = ()  # runs
    not_evaluated: tuple[str, ...] = ()  # runs
    not_analysed: tuple[str, ...] = ()  # runs; diverged ones are not either
    versions: Mapping[str, str] | None = None
    device: str = "CPU"
    source: str = "scikit-learn"
    classes: tuple[str, ...] = tuple("0123456789")
    changes: Mapping[str, Any] | None = None


def make(root: Path, made: Made | None = None) -> Experiment:
    """Fills root/{params.yaml,data,runs,results} and returns the experiment."""
    made = made or Made()
    root.mkdir(parents=True, exist_ok=True)
    train = {"iterations": 2000, "lr_drops": [1000, 1500], "record_every": 20, "validate_every": 100, "batch_size": 64}
    changes = {
        f"{EXPERIMENT}.architecture": {"stem": "cifar", "width": 16},
        f"{EXPERIMENT}.networks": dict.fromkeys(made.networks),
        f"{EXPERIMENT}.seeds": list(range(made.seeds)),
        **{f"{EXPERIMENT}.train.{key}": value for key, value in train.items()},
        **(made.changes or {}),
    }
    write(root / "params.yaml", params(changes))
    experiment = load(EXPERIMENT, root / "params.yaml")
    manifest = _manifest(made)
    folder = root / "data" / EXPERIMENT
    folder.mkdir(parents=True)
    write_json(folder / "manifest.json", manifest)
    (root / "results" / EXPERIMENT).mkdir(parents=True)
    for spec in experiment.runs:
        if spec.name not in made.leave_out:
            _run(root, spec, made, manifest)
    return experiment


def _manifest(made: Made) -> Manifest:
    def split(images: int) -> SplitInfo:
        return SplitInfo(images=images, per_class=dict.fromkeys(made.classes, images // len(made.classes)), files=[])

    return Manifest(
        dataset="digits",
        storage="arrays",
        classes=list(made.classes),
        channels=1,
        size=8,
        train=split(1200),
        val=split(297),
        test=split(300),
        mean=NO_FILE,
        source=made.source,
    )


def _run(root: Path, spec: RunSpec, made: Made, manifest: Manifest) -> None:
    rng = np.random.default_rng([spec.seed, *spec.network.encode()])
    final = max(0.0, FINAL[spec.architecture_name] + made.spread * float(rng.standard_normal()))
    diverged = spec.name in made.diverged
    folder = root / "runs" / EXPERIMENT / spec.name
    folder.mkdir(parents=True)
    _history(folder / "history.csv", spec, final, rng)
    _gradients(folder / gradients.NAME, spec, made)
    record = RunRecord(
        run=spec.name,
        key=f"{spec.name:_<64}",
        experiment=EXPERIMENT,
        network=spec.network,
        architecture=asdict(spec.architecture),
        depth=spec.architecture.depth,
        family=spec.architecture.family,
        shortcut=spec.architecture.shortcut,
        seed=spec.seed,
        status="diverged" if diverged else "finished",
        iterations=140 if diverged else spec.recipe.iterations,
        warm_up_ended_at=None,
        parameters=1000 * spec.architecture.depth,
        multiply_adds=100_000 * spec.architecture.depth,
        train_top1_error_percent=final,
        val_top1_error_percent=final + 1,
        seconds=40.0 + spec.seed,
        images_per_second=3000.0 - spec.architecture.depth,
        peak_mib=512.0,
        device=made.device,
        threads=1,
        commit=None,
        versions=dict(made.versions or {"torch": "2.0", "numpy": "2.0"}),
        attempts=1,
        recipe=asdict(spec.recipe),
        data_digest=manifest.digest(),
        code_digest="c" * 64,
        weights=NO_FILE,
    )
    write_json(folder / "run.json", record)
    if spec.name not in made.not_evaluated:
        result = _result(record, final, rng, made)
        if not diverged and spec.name not in made.not_analysed:
            error = min(90.0, final + 1)
            inside = inside_maker.analysis(spec.network, spec.architecture, error, made, _rng_of_layers(spec))
            result = result.model_copy(update={"analysis": inside})
        write_json(root / "results" / EXPERIMENT / f"{spec.name}.json", result)


def _rng_of_layers(spec: RunSpec) -> np.random.Generator:
    """Its own, so that what is measured inside a network moves no error."""
    return np.random.default_rng([1, spec.seed, *spec.network.encode()])


def _gradients(path: Path, spec: RunSpec, made: Made) -> None:
    recipe = spec.recipe
    iterations = [1, *range(recipe.validate_every, recipe.iterations + 1, recipe.validate_every)]
    norms = inside_maker.gradients(spec.network, spec.architecture, iterations, made, _rng_of_layers(spec))
    gradients.write(path, inside_maker.layers(spec.architecture)[0], norms)


def _result(record: RunRecord, final: float, rng: np.random.Generator, made: Made) -> RunResult:
    def split(images: int, percent: float) -> SplitErrors:
        wrong = min(images, max(0, round(images * percent / 100)))
        return SplitErrors(images=images, top1_errors=wrong, top5_errors=None, loss=0.1)

    val, test = (final + 1 + float(rng.standard_normal()) for _ in range(2))
    return RunResult(
        run=record.run,
        key=record.key,
        protocol="single view",
        train=split(1200, 0.8 * final),
        val=split(297, val),
        test=split(300, test),
        protocols={name: split(300, test + points) for name, points in made.protocols.items()},
        images_per_second=9000.0,
        peak_multiply_adds_per_second=PEAK,
        device=record.device,
    )


def _history(path: Path, spec: RunSpec, final: float, rng: np.random.Generator) -> None:
    """Errors that fall from guessing to `final`, with a step at each drop of the learning rate."""
    recipe = spec.recipe
    rows = []
    for i in range(recipe.record_every, recipe.iterations + 1, recipe.record_every):
        drops = sum(i > drop for drop in recipe.lr_drops)
        floor = final * (2.2 if drops == 0 else 1.2 if drops == 1 else 1.0)
        error = floor + (90 - min(90.0, floor)) * math.exp(-i / (90 + 4 * spec.architecture.depth))
        error = min(90.0, max(0.0, error * (1 + 0.05 * float(rng.standard_normal()))))
        val = min(90.0, error + 1 + float(rng.standard_normal()) ** 2) if i % recipe.validate_every == 0 else None
        epoch = i * recipe.batch_size / 1200
        lr = recipe.lr * 0.1**drops
        rows.append([i, epoch, lr, error / 40, error, None if val is None else val / 40, val, i / 50, 0.0])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HISTORY)
        writer.writerows(rows)
