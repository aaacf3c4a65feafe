"""`make chaos`: python -m tests.chaos [SCENARIO...] [--seed N] [--share X] [--log FILE] [--write docs/faults.md]."""

import argparse
import sys
import time
from pathlib import Path

from tests.chaos.faults import table
from tests.chaos.log import Log
from tests.chaos.scenarios import SCENARIOS, play


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (all)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of each scenario's faults (default: all)")
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"), help="a line an event (default: %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the figures as markdown")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.scenarios) - set(SCENARIOS))
    if unknown:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    arguments.log.write_text("")
    played: list[tuple[Log, float]] = []
    for name in arguments.scenarios or SCENARIOS:
        began = time.monotonic()
        log = play(name, arguments.seed, arguments.share, arguments.log)
        played.append((log, time.monotonic() - began))
        faults = ", ".join(f"{number} {kind}" for kind, number in sorted(log.done.items()))
        print(f"{name}: {faults or 'no fault'}: {log.wrong[0] if log.wrong else 'all holds'}", flush=True)
    if arguments.write is not None:
        arguments.write.write_text(table(played, arguments.seed, arguments.share))
    sys.exit(any(log.wrong for log, _ in played))


if __name__ == "__main__":
    main()
