"""Command `publish`: one folder with all of an experiment that others need, ready for a static site."""

import argparse
import shutil
from pathlib import Path

from pipeline import config, paths
from pipeline.data.prepared import manifest_of
from pipeline.records import RunRecord, read, replacing
from pipeline.registration import path_of
from pipeline.reporting.markdown import render
from pipeline.reporting.report_json import ReportJson
from pipeline.run_store.run_folder import RECORD, WEIGHTS, published
from pipeline.run_store.run_key import plan


def main(arguments: argparse.Namespace) -> None:
    """Runs `python -m pipeline publish EXPERIMENT --out FOLDER`."""
    publish(arguments.experiment, arguments.out / arguments.experiment)


def publish(name: str, target: Path) -> None:
    """Replaces `target` by the report, the registration, and every run with its weights and a card.

    Raises UserError where the report or a run is missing, damaged, or of other parameters, data or code.
    """
    experiment, manifest = config.load(name), manifest_of(name)
    report = read(ReportJson, paths.REPORTS / name / "report.json", f"dvc repro report@{name}")
    runs = {spec.name: published(spec, Path()) for spec in plan(experiment, manifest)}
    records = {run: folder.record() for run, folder in runs.items()}
    with replacing(target) as folder:
        shutil.copytree(paths.REPORTS / name, folder, dirs_exist_ok=True)
        page = folder / "report.html"
        if page.is_file():
            shutil.copy(page, folder / "index.html")
        if experiment.registration is not None:
            shutil.copy(path_of(name), folder / "registration.json")
        for run, record in records.items():
            _add_run(runs[run].path, folder / "runs" / run, record)
            values = {"run": record, "manifest": manifest, "report": report, "weights": record.file(WEIGHTS)}
            (folder / "runs" / run / "README.md").write_text(render("card.md.j2", values), encoding="utf-8")
    print(f"{target}: the report, {len(runs)} runs with weights and cards", flush=True)


def _add_run(source: Path, target: Path, record: RunRecord) -> None:
    target.mkdir(parents=True)
    for name in (*(file.path for file in record.files), RECORD):
        shutil.copyfile(source / name, target / name)
