"""Nodes that are cut off from the others and come back: after a moment, or when they have been given up.

A node that was given up and comes back brings workers along that know nothing of it. Their locks are lost by then, as
an NFS server frees those of a client that has vanished; so nothing but the number of their attempts keeps them from
writing. Half of them stand still while they are cut off, as on a machine that is suspended, so that they are in the
middle of their runs when they come back.
"""

import contextlib
import random
import signal
import time

import psutil

from tests.chaos.ground import DEAD_S, Ground, Mutation, ground
from tests.chaos.log import Log
from tests.chaos.stage import LOOK_S, Stage
from tests.kills import Attempt

SHORT_S = (0.5, 0.6 * DEAD_S)
LONGER_S = (0.0, 3.0)  # than it takes until others have taken the node's runs over
PATIENCE_S = 120.0  # for that
ALONE_S = (1.0, 2.0)  # of its own processor time, that who stood still goes on before the link is there again
LOOK_AGAIN_S, BUSY_S = 2.0, 0.05  # who takes less than this of it in that time has ended by itself
NO_NAMESPACES = "partitions need root and network namespaces, which this machine does not allow"


def partitions(count: int, seed: int, log: Log) -> None:
    with ground() as place:
        cuts(count, seed, log, place)


def cuts(count: int, seed: int, log: Log, place: Ground, mutate: Mutation | None = None) -> None:
    """`count` cuts of a node that trains. The first is long, the others are by a draw."""
    if place.cluster.links is None:
        raise RuntimeError(NO_NAMESPACES)
    draw, done = random.Random(seed), 0
    while done < count and not (mutate and log.wrong):
        stage = place.begin(mutate)
        while done < count and (found := stage.victims(draw)):
            node = found[0][1]
            there = [attempt for attempt, its_node in found if its_node is node]
            long = done == 0 or draw.random() < 0.5
            frozen = done == 0 or (long and draw.random() < 0.5)
            away_s, alone_s = draw.uniform(*(LONGER_S if long else SHORT_S)), draw.uniform(*ALONE_S)
            place.cut(node)
            for attempt in there if frozen else []:
                attempt.signal(signal.SIGSTOP)
            if long:
                _give_up(stage, there)
                taken = stage.ended or all(map(stage.overtaken, there))
                log.check(taken, "others take over what was cut off", turn=place.stages)
            _look(stage, away_s)
            for attempt in there if frozen else []:
                _go_on(stage, attempt, alone_s)
            place.mend(node)
            stage.struck.update(there)
            done += 1
            kind = "long, and stands still" if frozen else "long" if long else "short"
            log.fault(kind, node=node.name, attempts=len(there))
        place.judge(stage, log, turn=place.stages)


def _give_up(stage: Stage, attempts: list[Attempt]) -> None:
    """Until the node is dead to the others, and they have begun its runs anew."""
    _look(stage, DEAD_S)
    for attempt in attempts:  # their locks are theirs alone from now on: whoever opens the file gets another one
        (attempt.slot / "lock").unlink(missing_ok=True)
    deadline = time.monotonic() + PATIENCE_S
    while not stage.ended and not all(map(stage.overtaken, attempts)) and time.monotonic() < deadline:
        _look(stage, LOOK_S)


def _go_on(stage: Stage, attempt: Attempt, seconds: float) -> None:
    """Lets it run for `seconds` of its processor time, if it wants so much."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(attempt.pid)
        spent = sum(process.cpu_times()[:2])
        until, before = spent + seconds, spent - 2 * BUSY_S
        attempt.signal(signal.SIGCONT)
        while spent < until and spent - before > BUSY_S:
            _look(stage, LOOK_AGAIN_S)
            before, spent = spent, sum(process.cpu_times()[:2])


def _look(stage: Stage, seconds: float) -> None:
    """Waits, and takes note of who trains meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        stage.look()
        time.sleep(LOOK_S)
