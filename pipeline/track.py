"""Sends to MLflow what it has not got yet: python -m pipeline.track EXPERIMENT"""

import argparse
import re

from pipeline.errors import EnvironmentFault, UserError, run_stage


def main(arguments: list[str] | None = None) -> None:
    """Prints one line. Raises EnvironmentFault where something is still not sent."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.track", description=__doc__)
    parser.add_argument("experiment")
    experiment = parser.parse_args(arguments).experiment
    from pipeline.config.sections import NAME
    from pipeline.tracking import reconcile
    from pipeline.tracking.address import address

    if not re.match(NAME, experiment):
        raise UserError(f"{experiment!r} is no name of an experiment")
    address()  # says what is wrong with it before anything is read
    outcome = reconcile(experiment)
    if not outcome.complete:
        raise EnvironmentFault(outcome.line())
    print(outcome.line())


if __name__ == "__main__":
    run_stage(main)
