"""`make chaos`: python -m tests.chaos [SCENARIO...], with `--write docs/faults.md`; `--help` has the rest."""

import argparse
import sys
from pathlib import Path

from tests.chaos.faults import table
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.side_by_side import JOBS, play_all


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (all)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of each scenario's faults (default: all)")
    parser.add_argument("--jobs", type=int, default=JOBS, help="scenarios at a time (default: %(default)s)")
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"), help="a line an event (default: %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the figures as markdown")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.scenarios) - set(SCENARIOS))
    if unknown:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    log = arguments.log.resolve()  # scenarios work in folders of their own
    log.write_text("")
    names = [name for name in SCENARIOS if name in (arguments.scenarios or SCENARIOS)]
    played = play_all(names, arguments.seed, arguments.share, log, arguments.jobs)
    if arguments.write is not None:
        arguments.write.write_text(table(played, arguments.seed, arguments.share))
    sys.exit(any(of.wrong for of, _ in played))


if __name__ == "__main__":
    main()
