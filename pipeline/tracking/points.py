"""Rows, records and results as MLflow's metrics, params and tags. Pure: knows no server."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.store.records import RunRecord, RunResult, SplitErrors
from pipeline.tracking.facts import RunFacts, roofline
from pipeline.tracking.published import Published
from pipeline.tracking.speed import Speed

if TYPE_CHECKING:  # the row's module needs torch, which the tracker does not
    from resnet.history import Row

MAX_BATCH = 1000  # metrics that MLflow takes at once
MAX_TAG = 8000  # characters
MAX_PARAM = 6000
MARKER = "epoch"  # a metric that every row has and that is always finite: where it is, the whole row is


class Point(NamedTuple):
    key: str
    value: float
    unix_ms: int
    step: int


def points(row: "Row", speed: Speed | None) -> list[Point]:
    """The row's metrics at its iteration and its own time, so that a resend is the same rows to the database."""
    unix_ms = int(row.unix_time_s * 1000)
    values = [*_values(row), *(_finite(speed._asdict()).items() if speed else ())]
    return [Point(key, value, unix_ms, row.iteration) for key, value in values if math.isfinite(value)]


def non_finite(rows: Iterable["Row"]) -> str | None:
    """The first values that no chart can show, named; None where there are none."""
    for row in rows:
        if names := [key for key, value in _values(row) if not math.isfinite(value)]:
            return f"{', '.join(names)} from iteration {row.iteration}"
    return None


def _values(row: "Row") -> Iterator[tuple[str, float]]:
    yield MARKER, row.epoch
    yield "lr", row.lr
    yield "train/loss", row.train_loss
    yield "train/top1_error", row.train_top1_error_percent
    if row.val_loss is not None:
        yield "val/loss", row.val_loss
    if row.val_top1_error_percent is not None:
        yield "val/top1_error", row.val_top1_error_percent


def batches(
    rows: Sequence["Row"], speeds: Mapping[int, Speed], limit: int = MAX_BATCH
) -> Iterator[tuple[list["Row"], list[Point]]]:
    """The rows in groups of at most `limit` metrics, no row in two groups: MLflow takes a group whole or not at all."""
    taken: list[Row] = []
    metrics: list[Point] = []
    for row in rows:
        more = points(row, speeds.get(row.iteration))
        if taken and len(metrics) + len(more) > limit:
            yield taken, metrics
            taken, metrics = [], []
        taken.append(row)
        metrics += more
    if taken:
        yield taken, metrics


def run_metrics(record: RunRecord, paper: Published | None) -> dict[str, float]:
    """The last word on a run, for the columns of the runs table."""
    most = roofline(record)
    values = {
        "final/train_top1_error": record.train_top1_error_percent,
        "final/val_top1_error": record.val_top1_error_percent,
        "paper/top1_error": paper.top1_error_percent if paper else None,
        "perf/images_per_s": record.images_per_second,
        "perf/roofline_percent": 100.0 * record.images_per_second / most if most else None,
        "perf/seconds": record.seconds,
        "perf/peak_mib": record.peak_mib,
        "parameters": record.parameters,
        "multiply_adds": record.multiply_adds,
    }
    return _finite(values)


def result_metrics(result: RunResult, paper: Published | None) -> dict[str, float]:
    """What the final weights were measured at. The difference from the paper only by the paper's own protocol."""
    values: dict[str, float | None] = {"perf/evaluation_images_per_s": result.images_per_second}
    splits: dict[str, SplitErrors | None] = {"train": result.train, "val": result.val, "test": result.test}
    for split, errors in splits.items():
        if errors is None or errors.images == 0:
            continue
        name = f"final/{split}" if split != "train" else "final/unaugmented_train"
        values[f"{name}_top1_error"] = 100.0 * errors.top1_errors / errors.images
        values[f"{name}_loss"] = errors.loss
        if errors.top5_errors is not None:
            values[f"{name}_top5_error"] = 100.0 * errors.top5_errors / errors.images
    ours = values.get(f"final/{paper.split}_top1_error") if paper else None
    if paper and ours is not None and paper.comparable(result.protocol):
        values["delta/top1_error"] = ours - paper.top1_error_percent
    return _finite(values)


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def params(facts: RunFacts) -> dict[str, str]:
    """Every field of the recipe and of the architecture."""
    return {key: cut(value, MAX_PARAM) for key, value in _flat({**facts.architecture, **facts.recipe})}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list | tuple) else str(value)


def tags(facts: RunFacts, commit: str | None) -> dict[str, str]:
    """What runs are filtered and grouped by."""
    values = {
        "pipeline.kind": "run",
        "run_key": facts.key,
        "experiment": facts.experiment,
        "network": facts.network,
        "family": facts.family,
        "depth": str(facts.depth),
        "shortcut": facts.shortcut,
        "seed": str(facts.seed),
        "dataset": facts.dataset or "",
        "dataset_digest": facts.data_digest,
        "git_commit": commit or "",
        "mlflow.source.git.commit": commit or "",
    }
    return {key: cut(value, MAX_TAG) for key, value in values.items() if value}


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, with a mark where some were left out."""
    return text if len(text) <= limit else text[: limit - 16] + " … (cut)"


def digest(record: RunRecord | RunResult) -> str:
    """Names one version of a record, to see that MLflow has it already."""
    return hashlib.sha256(record.model_dump_json().encode()).hexdigest()[:16]
