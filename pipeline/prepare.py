"""The first stage: python -m pipeline.prepare EXPERIMENT builds data/EXPERIMENT/, its manifest.json last."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import EnvironmentFault, run_stage
from pipeline.store.records import Manifest, replacing, write_json

if TYPE_CHECKING:  # it imports torch, for which --help should not wait
    from pipeline.config.experiment import Experiment
    from pipeline.config.sections import Cifar10, Digits, Folder, ImageNet

DATA = Path("data")
DOWNLOADS = ".downloads"  # beside the experiments, shared by them


def prepare(experiment: "Experiment", folder: Path = DATA) -> Manifest:
    """Writes the experiment's data into `folder`/NAME, which takes the place of what was there.

    Everything is checked before; a UserError leaves the disk as it was.
    """
    target, key = folder / experiment.name, f"{experiment.name}.data"
    data = experiment.data
    try:
        if data.dataset == "folder" or data.dataset == "imagenet":
            return _shards(data, target, key)
        return _arrays(data, target, key)
    except OSError as error:  # a full or read-only disk
        raise EnvironmentFault(f"{error.filename or target}: {error.strerror}; mend that and run it again") from None


def _arrays(data: "Digits | Cifar10", target: Path, key: str) -> Manifest:
    from pipeline.datasets import arrays, cifar10, digits

    if data.dataset == "digits":
        small = digits.read(data.validation, data.test, key)
    else:
        source = None if data.source is None else Path(data.source)
        small = cifar10.read(source, data.validation, target.parent / DOWNLOADS, key)
    with replacing(target) as fresh:
        manifest = arrays.write(fresh, small)
        write_json(fresh / "manifest.json", manifest)
    return manifest


def _shards(data: "Folder | ImageNet", target: Path, key: str) -> Manifest:
    from pipeline.datasets import folder, pack, tree

    found = tree.scan(Path(data.source), f"{key}.source")
    with pack.processes(pack.workers_for(sum(map(len, found.splits.values())))) as run:
        if data.dataset == "folder":
            fractions = {"test": data.test, "val": data.validation}
            plan = folder.read_folder(found, f"{key}.source", fractions, run)
        else:
            plan = folder.read_imagenet(found, f"{key}.source", run)
        folder.check_room(target, plan)
        with replacing(target) as fresh:
            manifest = folder.write(fresh, plan, run)
            write_json(fresh / "manifest.json", manifest)
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.prepare",
        description="Builds data/EXPERIMENT/ from the experiment's `data` section in params.yaml.",
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a section of params.yaml")
    name = parser.parse_args().experiment
    from pipeline.config import params

    experiment = params.load(name)
    manifest = prepare(experiment)
    parts = {"train": manifest.train, "val": manifest.val, "test": manifest.test}
    counts = ", ".join(f"{name} {part.images}" for name, part in parts.items() if part is not None)
    print(f"{DATA / experiment.name}: {counts} images of {len(manifest.classes)} classes")


if __name__ == "__main__":
    run_stage(main)
