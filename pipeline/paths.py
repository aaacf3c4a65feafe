"""Where the files of a checkout are: one folder per stage, with one folder per experiment in it."""

from pathlib import Path

PARAMS = Path("params.yaml")
DATA = Path("data")  # prepare
RUNS = Path("runs")  # train
RESULTS = Path("results")  # evaluate
REPORTS = Path("reports")  # report
REGISTRATIONS = Path("registrations")  # register; one file per experiment, which belongs in git
