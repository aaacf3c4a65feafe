"""What MLflow shows of a run: metrics, params, tags and a note. A new metric is one line of a table below."""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from pipeline import data
from pipeline.config import RunSpec
from pipeline.records import RunRecord, RunResult, SplitErrors, as_json
from pipeline.run_store.run_folder import RunFolder
from resnet.architectures import ARCHITECTURES
from resnet.device import roofline_images_per_second
from resnet.history import Row
from resnet.paper.published import Published, kind, table2, table3, table6

MAX_BATCH = 1000  # metrics that MLflow takes at once, as one transaction
MARKER = "epoch"  # a metric that every row has and that is always finite: where MLflow has it, it has the whole row
NOTE = "mlflow.note.content"
FILES = "pipeline.files"  # the digest of the run.json that MLflow has in full, and with it all rows


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalRun:
    """A run as the files describe it."""

    spec: RunSpec
    data_digest: str
    dataset: str | None  # None where data/EXPERIMENT is no longer what the run was trained on
    folder: RunFolder
    rows: Sequence[Row]
    status: str  # in MLflow's words
    failure: str = ""
    record: RunRecord | None = None
    result: RunResult | None = None

    @property
    def version(self) -> str:
        """The digest of run.json; empty for a run that has not finished."""
        return hashlib.sha256(as_json(self.record)).hexdigest()[:16] if self.record else ""

    @property
    def paper(self) -> Published | None:
        """The paper's error of this network on these data; None where it has none."""
        family = data.DATASETS[self.dataset].paper_family if self.dataset in data.DATASETS else None
        for line in {"imagenet": (*table3(), *table2()), "cifar": table6()}.get(family or "", ()):
            if line.top1 and replace(ARCHITECTURES[line.name], shortcut=line.shortcut) == self.spec.architecture:
                return line.top1
        return None


def _percent(split: SplitErrors | None, errors: int | None) -> float | None:
    return None if not split or not split.images or errors is None else 100.0 * errors / split.images


def _roofline(record: RunRecord) -> float:
    return roofline_images_per_second(record.peak_multiply_adds_per_second, record.multiply_adds)


# Errors are in per cent, not accuracies, so that the charts look like the paper's figures.
ROW: dict[str, Callable[[Row], float | None]] = {  # from history.csv, by iteration
    MARKER: lambda row: row.epoch,
    "lr": lambda row: row.lr,
    "train/loss": lambda row: row.train_loss,
    "train/top1_error": lambda row: row.train_top1_error_percent,
    "val/loss": lambda row: row.val_loss,
    "val/top1_error": lambda row: row.val_top1_error_percent,
}
RECORD: dict[str, Callable[[RunRecord], float | None]] = {  # from run.json, once
    "final/train_top1_error": lambda record: record.train_top1_error_percent,
    "final/val_top1_error": lambda record: record.val_top1_error_percent,
    "perf/images_per_s": lambda record: record.images_per_second,
    "perf/roofline_percent": lambda record: 100.0 * record.images_per_second / _roofline(record),
    "perf/seconds": lambda record: record.seconds,
    "perf/peak_mib": lambda record: record.peak_mib,
    "parameters": lambda record: record.parameters,
    "multiply_adds": lambda record: record.multiply_adds,
}
SPLIT: dict[str, Callable[[SplitErrors], float | None]] = {  # from results/EXPERIMENT/RUN.json, once for each split
    "top1_error": lambda split: _percent(split, split.top1_errors),
    "top5_error": lambda split: _percent(split, split.top5_errors),
    "loss": lambda split: split.loss,
}


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    unix_ms: int
    iteration: int


def batches(run: LocalRun, sent: Collection[int]) -> Iterator[list[Point]]:
    """Yields the points of the rows whose iteration is not in `sent`, at most MAX_BATCH at once, no row in two batches.

    A point has the time of its row, so that two processes that send it send the same.
    """
    batch: list[Point] = []
    for before, row in zip([None, *run.rows], run.rows, strict=False):
        values = {**_values(row), "images_per_second": _images_per_second(before, row, run.spec.recipe.batch_size)}
        points = [Point(*item, int(row.unix_time_s * 1000), row.iteration) for item in _finite(values).items()]
        if len(batch) + len(points) > MAX_BATCH:
            yield batch
            batch = []
        batch += points if row.iteration not in sent else []
    if batch:
        yield batch


def _values(row: Row) -> dict[str, float | None]:
    return {name: value(row) for name, value in ROW.items()}


def _images_per_second(before: Row | None, row: Row, batch_size: int) -> float | None:
    iterations, seconds = (before.iteration, before.seconds) if before else (0, 0.0)
    return (row.iteration - iterations) * batch_size / (row.seconds - seconds) if row.seconds > seconds else None


def summary(run: LocalRun) -> dict[str, float]:
    """Returns the metrics of a finished run. A value of the evaluate stage replaces that of the train stage."""
    if run.record is None:
        return {}
    values = {name: value(run.record) for name, value in RECORD.items()}
    if run.result:
        splits = {"unaugmented_train": run.result.train, "val": run.result.val, "test": run.result.test}
        known = [(name, split) for name, split in splits.items() if split]
        values |= {f"final/{name}_{what}": value(split) for name, split in known for what, value in SPLIT.items()}
        values["perf/evaluation_images_per_s"] = run.result.images_per_second
    if paper := run.paper:
        values["paper/top1_error"] = paper.value
        ours = values.get(f"final/{data.of(run.dataset or '').headline}_top1_error")
        if ours is not None and run.result and kind(paper.protocol) == kind(run.result.protocol):
            values["delta/top1_error"] = ours - paper.value  # a 1-crop error is not compared with a 10-crop error
    return _finite(values)


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def _non_finite(rows: Sequence[Row]) -> str:
    """The first values that no chart can show."""
    for row in rows:
        values = {name: value for name, value in _values(row).items() if value is not None}
        if strange := sorted(values.keys() - _finite(values).keys()):
            return f"{', '.join(strange)} from iteration {row.iteration}"
    return ""


def params(spec: RunSpec) -> dict[str, str]:
    """Returns what runs are compared by: every field of the network and of the recipe."""
    names = {"network": spec.network, "family": spec.architecture.family, "depth": spec.architecture.depth}
    values = {**names, "seed": spec.seed, **asdict(spec.architecture), **asdict(spec.recipe)}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def tags(run: LocalRun) -> dict[str, str]:
    """Returns what runs are searched and grouped by. Empty ones need not be sent."""
    spec, record = run.spec, run.record
    commit = (record.commit if record else None) or ""
    return {
        "pipeline.kind": "run",
        "experiment": spec.experiment,
        "network": spec.network,
        "family": spec.architecture.family,
        "depth": str(spec.architecture.depth),
        "shortcut": spec.architecture.shortcut,
        "seed": str(spec.seed),
        "dataset": run.dataset or "",
        "dataset_digest": run.data_digest,
        "git_commit": commit,
        "mlflow.source.git.commit": commit.partition(" ")[0],  # without "(changed since)"
        "device": record.device if record else "",
        "status": record.status if record else "",
        "protocol": run.result.protocol if run.result else "",
        "failure": run.failure,
        "non_finite": _non_finite(run.rows),
        NOTE: _note(run, commit[:12]),
        FILES: run.version,
    }


def _note(run: LocalRun, commit: str) -> str:
    """What the run is, what the paper has for it, how it ended and the command that repeats it, as Markdown."""
    network, paper, record = run.spec.architecture, run.paper, run.record
    parts = [
        f"**{run.spec.network}**, seed {run.spec.seed}: a {network.family} network of {network.depth} weighted layers "
        f"(shortcut {network.shortcut}) on {run.dataset or 'data'} (digest `{run.data_digest[:12]}`)."
    ]
    if paper:
        parts.append(f"Published: {paper.value:.2f} % top-1 error ({paper.protocol}; He et al. 2015, {paper.where}).")
    else:
        parts.append("The paper has no figure for this network on these data.")
    if record:
        parts.append(f"Status: {record.status} after {record.iterations:,} iterations.")
    at = f" at commit `{commit}`" if commit else ""
    command = f"python -m pipeline train {run.spec.experiment} --only {run.spec.network}"
    return "\n\n".join([*parts, f"To repeat it{at}: `{command}`"])
