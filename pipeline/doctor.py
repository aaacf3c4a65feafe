"""Looks at the checkout, the cluster and every node of it, and says what is well and how to mend what is not."""

import argparse
import sys

from pipeline.errors import ENVIRONMENT, run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.doctor", description=__doc__)
    parser.add_argument("experiment", nargs="*", help="sections of params.yaml; by default those that dvc repro runs")
    arguments = parser.parse_args()

    from pipeline.checks import examination

    bad = 0
    for line in examination.lines(arguments.experiment):
        print(line, flush=True)
        bad += not line.ok
    if bad:
        print(f"{bad} to mend", flush=True)
        sys.exit(ENVIRONMENT)


if __name__ == "__main__":
    run_stage(main)
