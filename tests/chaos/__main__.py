"""Plays faults on purpose: python -m tests.chaos [SCENARIO ...] [--write docs/faults.md]."""

import argparse
import sys
from pathlib import Path

from tests.chaos.harness import JOBS, SCENARIOS, page, play_all
from tests.chaos.mutations import DESCRIPTIONS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: %(default)s)")
    parser.add_argument("--fraction", type=float, default=1.0, help="of each scenario's faults (default: all)")
    parser.add_argument("--jobs", type=int, default=JOBS, help="scenarios at a time (default: %(default)s)")
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"), help="one line per event (%(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the figures as markdown")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.scenarios) - set(SCENARIOS))
    if unknown:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    log = arguments.log.resolve()  # scenarios work in folders of their own
    log.write_text("")
    names = [name for name in SCENARIOS if name in (arguments.scenarios or SCENARIOS)]
    logs = play_all(names, arguments.seed, arguments.fraction, log, arguments.jobs)
    if arguments.write is not None:
        arguments.write.write_text(page(logs, arguments.seed, arguments.fraction, DESCRIPTIONS))
    sys.exit(any(log.wrong for log in logs))


if __name__ == "__main__":
    main()
