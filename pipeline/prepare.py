"""Stage `prepare`: builds data/EXPERIMENT/ from the source of its data set, its manifest last."""

import argparse
from pathlib import Path

from pipeline import config, data
from pipeline.errors import EnvironmentFault
from pipeline.paths import DATA
from pipeline.records import Manifest


def main(arguments: argparse.Namespace) -> None:
    """Prepares the data of `arguments.experiment` and prints what they are."""
    experiment = config.load(arguments.experiment)
    manifest = prepare(experiment)
    splits = {"train": manifest.train, "val": manifest.val, "test": manifest.test}
    counts = ", ".join(f"{name} {split.images}" for name, split in splits.items() if split is not None)
    print(f"{DATA / experiment.name}: {counts} images of {len(manifest.classes)} classes; {manifest.source}")


def prepare(experiment: config.Experiment, folder: Path = DATA) -> Manifest:
    """Replaces `folder`/NAME by the prepared data of the experiment, and returns their manifest.

    Everything is checked first. Raises UserError for a wrong source and EnvironmentFault for the disk or the network;
    the old content is then unchanged.
    """
    target = folder / experiment.name
    try:
        return data.of(experiment.data.dataset).prepare(experiment.data, target, f"{experiment.name}.data")
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or target}: {error.strerror}; fix that and run it again") from None
