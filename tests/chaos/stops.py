"""Workers that stand still, by SIGSTOP: Ray takes them for alive for ever."""

import random
import signal
import time

from tests.chaos.ground import Ground, Mutation, ground
from tests.chaos.log import Log
from tests.chaos.stage import LOOK_S, Stage, birth
from tests.kills import Attempt

FOUND_S = 30.0  # within which a process that stands still must be found, and be no more
PATIENCE_S = 120.0


def stops(count: int, seed: int, log: Log) -> None:
    with ground() as place:
        standstills(count, seed, log, place)


def standstills(count: int, seed: int, log: Log, place: Ground, mutate: Mutation | None = None) -> None:
    """`count` stops of processes that train, as many at once as do."""
    draw, done = random.Random(seed), 0
    while done < count and not (mutate and log.wrong):
        stage = place.begin(mutate)
        while done < count and (found := stage.victims(draw)):
            hit: dict[int, tuple[str, float]] = {}
            for attempt, node in found[: count - done]:
                born = _stop(attempt)
                if born is not None:
                    hit[attempt.pid] = born, time.monotonic()
                    stage.strike(attempt)
                    log.fault("training process stopped", node=node.name, attempt=attempt.number)
                time.sleep(draw.uniform(0.0, 0.5))
            done += len(hit)
            _await(stage, hit, log)
        place.judge(stage, log, turn=place.stages)


def _stop(attempt: Attempt) -> str | None:
    """When the process that stands still now was started; None where it had just come to its end."""
    born = birth(attempt.pid)
    attempt.signal(signal.SIGSTOP)
    if born is None or (attempt.slot / "run.json").exists():
        attempt.signal(signal.SIGCONT)
        return None
    return born


def _await(stage: Stage, hit: dict[int, tuple[str, float]], log: Log) -> None:
    """Until all of them have been found and ended."""
    left = dict(hit)
    while left:
        for pid, (born, since) in list(left.items()):
            seconds = time.monotonic() - since
            gone = birth(pid) != born
            if gone or seconds > PATIENCE_S or stage.ended:
                del left[pid]
                what = "who stands still is found, and ended, within 30 s"
                log.check(gone and seconds <= FOUND_S, what, seconds=round(seconds, 1), ended=stage.ended)
        stage.look()
        time.sleep(LOOK_S)
