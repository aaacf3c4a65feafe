"""Where the files of a checkout are: one folder per stage, with one folder per experiment in it."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")
DATA = Path("data")  # prepare
RUNS = Path("runs")  # train
RESULTS = Path("results")  # evaluate
REPORTS = Path("reports")  # report
REGISTRATIONS = Path("registrations")  # register; one file per experiment, which belongs in git
CODE = tuple(
    map(Path, ("pipeline", "resnet", "tests", "benchmarks", "deploy", "docs", ".ci", ".dvc", ".git", ".github"))
)
TAKEN = (DATA, RUNS, RESULTS, REPORTS, REGISTRATIONS, *CODE)  # commands, git and DVC replace files there


def checkout() -> Path:
    """Returns the checkout whose run store and MLflow database the working folder shares.

    It is the working folder, except where DVC runs a queued experiment (`dvc exp run --queue`, `--temp`): it works
    in a copy in .dvc/tmp/exps, which DVC deletes, and DVC_ROOT names the checkout that was copied.
    """
    here = Path.cwd()
    copied = Path(os.environ.get("DVC_ROOT", here))
    return copied if copied / ".dvc" / "tmp" / "exps" in here.parents else here
