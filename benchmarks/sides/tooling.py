"""Construction of a network, the start of a command, the report stage."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Work

REPORTED_SEEDS = 50  # of each of four networks


def construction(quick: bool) -> Work:
    """ResNet-152 with 1,000 classes and its initial weights, in torchvision's variant; with `quick` ResNet-18."""
    from resnet import build

    name = "resnet-18" if quick else "resnet-152"

    def make() -> None:
        build(name, classes=1000, stride_on="3x3")

    return make


def command_help(_quick: bool) -> Work:
    """The whole command: a Python process from its start to its end."""

    def ask() -> None:
        subprocess.run([sys.executable, "-m", "pipeline.train", "--help"], check=True, stdout=subprocess.DEVNULL)

    return ask


def report(quick: bool) -> Work:
    """reports/EXPERIMENT/ as the stage writes it, with figures, of 200 made-up runs; with `quick` of 4.

    Each call reads the runs anew. Importing what it needs happens in the warm-up.
    """
    from pipeline.report import write
    from tests.report_maker import Made, make

    folder = tempfile.TemporaryDirectory(prefix="benchmark-report-")
    root = Path(folder.name)
    experiment = make(root, Made(seeds=1 if quick else REPORTED_SEEDS))

    def stage() -> None:
        assert folder.name  # lives as long as the work does
        write(experiment, root)

    return stage
