"""`make chaos`: python -m tests.chaos [SCENARIO...] [--seed N] [--share X] [--log FILE] [--write docs/faults.md]."""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.chaos.faults import table
from tests.chaos.log import Log
from tests.chaos.scenarios import SCENARIOS, play

Played = tuple[Log, float]  # and its time in seconds


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
    names = [name for name in SCENARIOS if name in (arguments.scenarios or SCENARIOS)]
    played = play_both(names, arguments.seed, arguments.share, arguments.log)
    if arguments.write is not None:
        arguments.write.write_text(table(played, arguments.seed, arguments.share))
    sys.exit(any(log.wrong for log, _ in played))


def play_both(names: list[str], seed: int, share: float, log: Path) -> list[Played]:
    """Those on a cluster wait most of the time for what Ray notices: they are played beside the others."""
    lanes = [[name for name in names if SCENARIOS[name].cluster is cluster] for cluster in (False, True)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        both = [pool.submit(play_all, lane, seed, share, log) for lane in lanes]
        played = {one[0].scenario: one for lane in both for one in lane.result()}
    return [played[name] for name in names]


def play_all(names: list[str], seed: int, share: float, path: Path) -> list[Played]:
    """One after another."""
    played: list[Played] = []
    for name in names:
        began = time.monotonic()
        log = play(name, seed, share, path)
        played.append((log, time.monotonic() - began))
        faults = ", ".join(f"{number} {kind}" for kind, number in sorted(log.done.items()))
        print(f"{name}: {faults or 'no fault'}: {log.wrong[0] if log.wrong else 'all holds'}", flush=True)
    return played


if __name__ == "__main__":
    main()
