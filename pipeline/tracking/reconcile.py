"""Sends to MLflow what the stages' folders hold and it has not got yet."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.store.records import Manifest, RunRecord, RunResult, read
from pipeline.tracking.facts import Outcome
from pipeline.tracking.tracker import PATIENCE_S, Tracker


def reconcile(experiment: str, *, root: Path = Path(), uri: str | None = None, patience_s: float = 600.0) -> Outcome:
    """All of runs/, results/ and reports/EXPERIMENT under `root`. Raises UserError for damaged files."""
    runs = list(_runs(root / "runs" / experiment, experiment))
    paths = [root / "results" / experiment / f"{folder.name}.json" for _, folder in runs]
    results = [read(RunResult, path, f"dvc repro evaluate@{experiment}") for path in paths if path.is_file()]
    tracker = Tracker(experiment, uri=uri, warn=False)
    _tell(tracker, root / "data" / experiment, runs, results)
    report = root / "reports" / experiment
    if report.is_dir():
        tracker.report(report)
    return tracker.close(patience_s)


def log_results(
    experiment: str,
    results: Sequence[RunResult],
    *,
    root: Path = Path(),
    uri: str | None = None,
    patience_s: float = PATIENCE_S,
) -> Outcome:
    """The evaluate stage's errors, run by run, and with them the runs that MLflow has not got yet."""
    wanted = {result.key for result in results}
    runs = [run for run in _runs(root / "runs" / experiment, experiment) if run[0].key in wanted]
    tracker = Tracker(experiment, uri=uri, warn=False)
    _tell(tracker, root / "data" / experiment, runs, results)
    return tracker.close(patience_s)


def log_report(experiment: str, folder: Path, *, uri: str | None = None, patience_s: float = PATIENCE_S) -> Outcome:
    """reports/EXPERIMENT, on the newest invocation of the experiment."""
    tracker = Tracker(experiment, uri=uri, warn=False)
    tracker.report(folder)
    return tracker.close(patience_s)


def _tell(tracker: Tracker, data: Path, runs: Sequence[tuple[RunRecord, Path]], results: Sequence[RunResult]) -> None:
    path = data / "manifest.json"
    manifest = read(Manifest, path, "dvc repro") if path.is_file() else None
    for record, folder in runs:
        known = manifest is not None and manifest.digest() == record.data_digest
        tracker.finish(record, folder, manifest.dataset if manifest and known else None)
    for result in results:
        tracker.result(result)


def _runs(folder: Path, experiment: str) -> Iterator[tuple[RunRecord, Path]]:
    if not folder.is_dir():
        raise UserError(f"{folder}: not there; make it with: dvc repro train@{experiment}")
    for path in sorted(folder.glob("*/run.json")):
        yield read(RunRecord, path, f"dvc repro -f train@{experiment}"), path.parent
