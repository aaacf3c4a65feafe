"""Command `pilot`: trains a grid of learning rates on seeds that are not judged, and registers each network's best."""

import argparse
from dataclasses import replace
from statistics import fmean

from pipeline import config, paths
from pipeline.config import Experiment, RunSpec
from pipeline.data.prepared import manifest_of, verify
from pipeline.errors import UserError
from pipeline.records import Manifest, PilotRun, Registration, write_json
from pipeline.registration import EDGE, at_edge, changes, chosen, path_of
from pipeline.run_store.run_folder import RunFolder
from pipeline.run_store.run_key import plan
from pipeline.storage import locate
from pipeline.train import find_missing, refuse_failed, train_runs

FINAL = 0.9  # fraction of the iterations from which on the training loss counts


def main(arguments: argparse.Namespace) -> None:
    """Runs `python -m pipeline pilot EXPERIMENT`."""
    pilot(arguments.experiment)


def pilot(name: str) -> None:
    """Trains what the run store lacks of the grid, then writes the rates into the registration. Raises UserError."""
    experiment, manifest = config.load(name), manifest_of(name)
    registration = _registration(experiment, manifest)
    if not registration.rates:
        verify(paths.DATA / name, manifest)
        grid = plan(replace(experiment, runs=experiment.pilot_runs()), manifest)
        refuse_failed(train_runs(experiment, manifest, find_missing(experiment, grid)), len(grid))
        table = [_measured(spec, RunFolder(locate(experiment.storage) / spec.key)) for spec in grid]
        registration = registration.model_copy(update={"pilot": table, "rates": chosen(table)})
        write_json(path_of(name), registration)
    _print(registration)


def _registration(experiment: Experiment, manifest: Manifest) -> Registration:
    """Returns the registration, which must be that of params.yaml, the data and the code. Raises UserError."""
    name, registration = experiment.name, experiment.registration
    if experiment.pilot is None:
        raise UserError(f"{paths.PARAMS}: {name}.pilot: not found; add it with `seeds` and a grid `lr`, then register")
    if registration is None:
        raise UserError(f"{path_of(name)}: not found; make it with: python -m pipeline register {name}")
    if reasons := changes(registration, experiment, manifest):
        raise UserError(f"{path_of(name)}: {reasons[0]}; undo that, or delete the file and register with other seeds")
    return registration


def _measured(spec: RunSpec, run: RunFolder) -> PilotRun:
    rows, diverged = run.rows(), run.record().status == "diverged"
    last = [row.train_loss for row in rows if row.iteration > FINAL * spec.recipe.iterations]
    loss = None if diverged else fmean(last)
    return PilotRun(network=spec.row, lr=spec.recipe.lr, seed=spec.seed, loss=loss, diverged=diverged, key=spec.key)


def _print(registration: Registration) -> None:
    for network, lr in registration.rates.items():
        print(f"{network}: learning rate {lr:g}{f', {EDGE}' if at_edge(registration, lr) else ''}", flush=True)
    print(f"{path_of(registration.experiment)}: commit this file before the first run", flush=True)
