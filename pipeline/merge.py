"""Command `merge`: copies what other run stores have finished into the run store of this checkout."""

import argparse
from pathlib import Path

from pipeline import config
from pipeline.errors import UserError
from pipeline.paths import PARAMS
from pipeline.run_store import lease
from pipeline.run_store.run_folder import PUBLISHED, RECORD, RunFolder
from pipeline.storage import PLACES, create, is_place, is_remote, locate, open_store, storage_errors, write_bytes

MEASURED = ("evaluation-*.json", "ensemble-*.json")  # of a finished run


def main(arguments: argparse.Namespace) -> None:
    """Merges every store that was named. Raises UserError for a damaged run, before any of its files is written."""
    for place in arguments.store:
        if not is_place(place):
            raise UserError(
                f"{place}: a run store must be {PLACES}; name that of another checkout, such as OTHER/.runs"
            )
    stores = [locate(store) for store in arguments.store]
    for store in stores:
        if not is_remote(store) and not store.is_dir():
            raise UserError(f"{store}: not found; name the run store of another checkout, such as OTHER/.runs")
    own = open_store(config.storage_of(config.read_yaml(PARAMS)))
    for store in stores:
        runs, results = merge(store, own)
        print(f"{store}: {runs} runs and {results} results copied to {own}", flush=True)


def merge(store: Path, own: Path) -> tuple[int, int]:
    """Copies the finished runs and results that `own` lacks; returns how many runs and results there were.

    A run that a worker trains in `own` is left to it. Raises UserError and EnvironmentFault.
    """
    runs = results = 0
    with storage_errors(store):
        folders = sorted(path.parent for path in store.glob(f"*/{RECORD}"))
    for folder in folders:
        source, target = RunFolder(folder), RunFolder(own / folder.name)
        source.record()  # refuses a damaged run
        try:
            with lease.acquire(target.path):
                if not target.finished:
                    _copy_run(source.path, target.path)
                    runs += 1
                results += _copy_results(source.path, target.path)
        except lease.Busy:
            print(f"{folder.name[:12]}: trained in {own} at this moment; left to it", flush=True)
    return runs, results


def _copy_run(source: Path, target: Path) -> None:
    """Copies the files of a run, the record last: from then on the run is finished."""
    for name in PUBLISHED:
        with storage_errors(source.parent):
            content = (source / name).read_bytes()
        with storage_errors(target.parent):
            write_bytes(target / name, content)
    with storage_errors(target.parent):
        create(target / RECORD, (source / RECORD).read_bytes())


def _copy_results(source: Path, target: Path) -> int:
    with storage_errors(source.parent):
        found = {path.name: path.read_bytes() for pattern in MEASURED for path in source.glob(pattern)}
    with storage_errors(target.parent):
        return sum(create(target / name, content) for name, content in found.items())
