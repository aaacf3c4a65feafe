"""`make chaos`: python -m tests.chaos [SCENARIO...], with `--write docs/faults.md`; `--help` has the rest."""

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.chaos.faults import table
from tests.chaos.log import Log
from tests.chaos.scenarios import SCENARIOS, play

JOBS = (os.cpu_count() or 1) + 1
Played = tuple[Log, float]  # and its time in seconds


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
    arguments.log.write_text("")
    asked = [name for name in SCENARIOS if name in (arguments.scenarios or SCENARIOS)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        playing = {
            name: pool.submit(play_one, name, arguments.seed, arguments.share, arguments.log) for name in mixed(asked)
        }
        played = [playing[name].result() for name in asked]
    if arguments.write is not None:
        arguments.write.write_text(table(played, arguments.seed, arguments.share))
    sys.exit(any(log.wrong for log, _ in played))


def mixed(names: list[str]) -> list[str]:
    """By turns one on a cluster, which waits most of the time for what Ray notices, and one that computes."""
    lanes = [[name for name in names if SCENARIOS[name].cluster is cluster] for cluster in (True, False)]
    return [name for pair in itertools.zip_longest(*lanes) for name in pair if name is not None]


def play_one(name: str, seed: int, share: float, path: Path) -> Played:
    began = time.monotonic()
    log = play(name, seed, share, path)
    faults = ", ".join(f"{number} {kind}" for kind, number in sorted(log.done.items()))
    print(f"{name}: {faults or 'no fault'}: {log.wrong[0] if log.wrong else 'all holds'}", flush=True)
    return log, time.monotonic() - began


if __name__ == "__main__":
    main()
