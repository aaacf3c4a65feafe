"""Command `register`: fixes an experiment and the rules of its verdicts in a file, before its first run."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.config import Experiment
from pipeline.data.prepared import manifest_of
from pipeline.errors import UserError
from pipeline.git_revision import revision
from pipeline.paths import PARAMS
from pipeline.records import Manifest, Registration, write_json
from pipeline.registration import digests, path_of
from pipeline.run_store.run_folder import RECORD
from pipeline.storage import locate, storage_errors
from resnet.statistics import MIN_SEEDS


def main(arguments: argparse.Namespace) -> None:
    """Runs `python -m pipeline register EXPERIMENT`."""
    register(arguments.experiment)


def register(name: str) -> None:
    """Writes registrations/<name>.json. Raises UserError before anything is changed."""
    experiment, path = config.load(name), path_of(name)
    if experiment.registration is not None:
        what = "change nothing, or give the experiment a new name and seeds that were never trained"
        raise UserError(f"{path}: {name} is registered already; {what}")
    manifest, at = manifest_of(name), revision(Path())
    judged = experiment.at(len(experiment.trial.looks))
    _refuse_pilot_seeds(judged)
    _refuse_finished_runs(judged, manifest)
    commit, now = None if at is None else str(at), digests(experiment, manifest)
    path.parent.mkdir(exist_ok=True)
    write_json(path, Registration(experiment=name, section=experiment.section, digests=now, commit=commit))
    rows = judged.by_network()
    print(f"{path}: {len(rows)} networks, {len(judged.runs)} runs; commit this file before the first run", flush=True)
    if few := [row for row, runs in rows.items() if len(runs) < MIN_SEEDS]:
        print(f"{', '.join(few)}: shown, but not judged, with fewer than {MIN_SEEDS} seeds", flush=True)


def _refuse_pilot_seeds(judged: Experiment) -> None:
    """Raises UserError where a rate would be chosen on a seed that is judged."""
    pilot = judged.pilot.seeds if judged.pilot else []
    for run in judged.runs:
        if run.seed in pilot:
            what = f"{run.seed} is among the judged seeds of {run.network}; take others, such as 1000 and up"
            raise UserError(f"{PARAMS}: {judged.name}.pilot.seeds: {what}")


def _refuse_finished_runs(judged: Experiment, manifest: Manifest) -> None:
    """Raises UserError where a judged run, with any rate that the pilot may choose, is in the run store.

    Runs that other code trained count too: an edit of the code makes no outcome unknown.
    """
    store, rates = locate(judged.storage), judged.pilot.lr if judged.pilot else None
    runs = [run.with_lr(lr) for run in judged.runs for lr in rates or [run.recipe.lr]]
    planned = {_content(asdict(r.architecture), asdict(r.recipe), r.seed, manifest.digest()): r for r in runs}
    with storage_errors(store):
        for path in sorted(store.glob(f"*/{RECORD}")):
            of = json.loads(path.read_bytes())
            run = planned.get(_content(of["architecture"], of["recipe"], of["seed"], of["data_digest"]))
            if run is not None:
                what = f"{run.name} is in the run store already ({path.parent.name[:12]}), so its outcome may be known"
                raise UserError(f"{PARAMS}: {judged.name}.seeds: {what}; take seeds that were never trained")


def _content(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)
