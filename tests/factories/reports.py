"""Made-up experiments that were never trained, their reports, and a reader of reports as a renderer of markdown."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.config import Experiment, RunSpec, load
from pipeline.records import Analysis, File, Manifest, RunRecord, RunResult, SplitErrors, SplitInfo, write_json
from pipeline.report import write as write_report
from pipeline.reporting import style
from pipeline.reporting.inputs import Inputs, gather
from pipeline.reporting.report_json import ReportJson
from pipeline.run_store.run_folder import WEIGHTS
from pipeline.run_store.run_key import plan
from pipeline.run_store.tables import GRADIENTS, HISTORY, encode_gradients, encode_history
from resnet.architectures import Architecture
from resnet.blocks import Block
from resnet.gradients import convolutions
from resnet.history import Gradient, Row
from resnet.network import build
from tests.factories.params import params, write
from tests.factories.stores import write_files

EXPERIMENT = "tiny"
CIFAR = ("cifar-plain-20", "cifar-plain-56", "cifar-resnet-20", "cifar-resnet-56")
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
LAYER_SPREAD = 0.05  # relative, from layer to layer and from seed to seed


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the made-up experiment is like; `changes` override parameters. By default roughly as in the paper."""

    networks: tuple[str, ...] = ("plain-18", "plain-34", "resnet-18", "resnet-34")
    seeds: int = 3
    spread: float = 0.4
    diverged: tuple[str, ...] = ()  # runs
    leave_out: tuple[str, ...] = ()  # runs
    not_evaluated: tuple[str, ...] = ()  # runs
    protocols: Mapping[str, float] = field(default_factory=dict)  # name -> points added to the error on the test split
    device: str = "CPU"
    dataset: str = "digits"
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
    for folder in ("data", "results"):
        (root / folder / EXPERIMENT).mkdir(parents=True)
    write_json(root / "data" / EXPERIMENT / "manifest.json", manifest)
    for spec in plan(experiment, manifest):
        if spec.name not in made.leave_out:
            _run(root, spec, made, manifest)
    return experiment


def inputs(root: Path, made: Made | None = None) -> Inputs:
    """Returns what the report of a made-up experiment is made from."""
    return gather(make(root, made), root)


def report(root: Path, made: Made | None = None, *, pictures: bool = False) -> tuple[str, ReportJson]:
    """Returns report.md and report.json of a made-up experiment."""
    experiment = make(root, made)
    with nullcontext() if pictures else without_pictures():
        write_report(experiment, root)
    return read(root)


@contextmanager
def without_pictures() -> Iterator[None]:
    """Skips drawing, for tests of the text."""
    with patch.object(style, "save"):
        yield


def read(root: Path) -> tuple[str, ReportJson]:
    """Returns report.md and report.json of a report that was written."""
    folder = root / "reports" / EXPERIMENT
    found = ReportJson.model_validate_json((folder / "report.json").read_bytes())
    return (folder / "report.md").read_text(encoding="utf-8").replace("\xa0", " "), found


def tokens(text: str) -> list[Token]:
    """Returns a document as a renderer sees it."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [inner for token in parser.parse(text) for inner in (token, *(token.children or []))]


def links(document: str) -> set[str]:
    """Returns the targets of links and images."""
    found = (t for t in tokens(document) if t.type in ("link_open", "image"))
    return {str(t.attrs.get("href") or t.attrs.get("src")) for t in found}


def rows(document: str, heading: str, table: int = 0) -> list[list[str]]:
    """Returns the cells of a table under a heading, its head first."""
    tables: list[list[list[str]]] = []
    flat = tokens(document)
    at = next(i for i, t in enumerate(flat) if t.type == "heading_open" and flat[i + 1].content.startswith(heading))
    for i, token in enumerate(flat[at + 1 :], at + 1):
        if token.type == "heading_open":
            break
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1].append("".join(t.content for t in flat[i + 1].children or []).replace("\xa0", " "))
    return tables[table]


def _manifest(made: Made) -> Manifest:
    def split(images: int) -> SplitInfo:
        return SplitInfo(images=images, per_class=dict.fromkeys("0123456789", images // 10), files=[])

    return Manifest(
        dataset=made.dataset,
        storage="arrays",
        classes=list("0123456789"),
        channels=1,
        size=8,
        train=split(1200),
        val=split(297),
        test=split(300),
        mean=NO_FILE,
        source="scikit-learn",
    )


def _run(root: Path, spec: RunSpec, made: Made, manifest: Manifest) -> None:
    rng = np.random.default_rng([spec.seed, *spec.network.encode()])
    inside = np.random.default_rng([1, spec.seed, *spec.network.encode()])  # moves no error
    final = max(0.0, FINAL[spec.architecture_name] + made.spread * float(rng.standard_normal()))
    folder = root / "runs" / EXPERIMENT / spec.name
    folder.mkdir(parents=True)
    contents = {
        HISTORY: encode_history(_history(spec, final, rng)),
        GRADIENTS: encode_gradients(_layers(spec.architecture)[0], _gradients(spec, inside)),
        WEIGHTS: b"weights",
    }
    record = _record(spec, final, made, manifest, write_files(folder, contents))
    write_json(folder / "run.json", record)
    if spec.name not in made.not_evaluated:
        result = _result(record, final, rng, made)
        if record.status == "finished":
            inside = np.random.default_rng([1, spec.seed, *spec.network.encode()])
            analysis = _analysis(spec, min(90.0, final + 1), inside)
            result = result.model_copy(update={"analysis": analysis})
        write_json(root / "results" / EXPERIMENT / f"{spec.name}.json", result)


def _record(spec: RunSpec, final: float, made: Made, manifest: Manifest, files: list[File]) -> RunRecord:
    diverged = spec.name in made.diverged
    return RunRecord(
        run=spec.name,
        key=spec.key,
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
        peak_multiply_adds_per_second=PEAK,
        peak_mib=512.0,
        workers=1,
        size=manifest.size,
        device=made.device,
        threads=1,
        commit=None,
        versions={"torch": "2.0", "numpy": "2.0"},
        attempts=1,
        recipe=asdict(spec.recipe),
        data_digest=manifest.digest(),
        code_digest="c" * 64,
        files=files,
    )


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


def _history(spec: RunSpec, final: float, rng: np.random.Generator) -> Iterator[Row]:
    """Yields errors that fall from guessing to `final`, with a step at each drop of the learning rate."""
    recipe = spec.recipe
    for i in range(recipe.record_every, recipe.iterations + 1, recipe.record_every):
        drops = sum(i > drop for drop in recipe.lr_drops)
        floor = final * (2.2, 1.2, 1.0)[drops]
        error = floor + (90 - min(90.0, floor)) * math.exp(-i / (90 + 4 * spec.architecture.depth))
        error = min(90.0, max(0.0, error * (1 + 0.05 * float(rng.standard_normal()))))
        val = min(90.0, error + 1 + float(rng.standard_normal()) ** 2) if i % recipe.validate_every == 0 else None
        epoch, lr, val_loss = i * recipe.batch_size / 1200, recipe.lr * 0.1**drops, None if val is None else val / 40
        yield Row(i, epoch, lr, error / 40, error, val_loss, val, i / 50, 0.0)


def _gradients(spec: RunSpec, rng: np.random.Generator) -> Iterator[Gradient]:
    """Yields norms of about the same size in all layers, which fall while the network learns."""
    count = len(_layers(spec.architecture)[0])
    for i in [1, *range(spec.recipe.validate_every, spec.recipe.iterations + 1, spec.recipe.validate_every)]:
        norms = 0.5 / (1 + i / 500) * np.exp(LAYER_SPREAD * rng.standard_normal(count))
        yield Gradient(i, tuple(norms.tolist()))


@lru_cache
def _layers(architecture: Architecture) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Returns names of the convolutions, of the 3x3 layers among them, and of the blocks that can be left out."""
    with torch.device("meta"):
        network = build(architecture, 10)
    found = convolutions(network)
    blocks = [name for name, module in network.named_modules() if isinstance(module, Block)]
    if architecture.shortcut == "none":  # those that change the shape cannot
        keeps = architecture.block == "basic"
        blocks = [name for name in blocks if not name.endswith(".0") or (keeps and name == "conv2_x.0")]
    small = tuple(name for name, convolution in found.items() if convolution.kernel_size == (3, 3))
    return tuple(found), small, tuple(blocks)


def _analysis(spec: RunSpec, error: float, rng: np.random.Generator) -> Analysis:
    """Returns what is measured in a network whose error is `error` per cent."""
    names, small, blocks = _layers(spec.architecture)
    plain, depth = spec.architecture.family == "plain", spec.architecture.depth
    response = 1.0 if plain else 0.5 * (20 / depth) ** 0.5
    lesion = 70.0 if plain else 100.0 / depth

    def around(value: float) -> float:
        return value * float(np.exp(LAYER_SPREAD * rng.standard_normal()))

    return Analysis(
        images=250,
        responses={name: around(response) for name in small},
        variances_at_start={name: around(2.0) for name in names},
        variances={name: around(1.0) for name in names},
        lesions={name: min(90.0, error + around(lesion)) for name in blocks},
        noise={repr(s): min(90.0, error + around(100.0 * s)) for s in (0.0, 0.05, 0.1, 0.2, 0.4)},
    )
