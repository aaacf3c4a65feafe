"""The head dies, and with it the cluster: the stage ends by itself, and the same command goes on in a new cluster."""

import random
import subprocess
import time

from pipeline.errors import LOST
from tests.chaos.ground import Ground, Mutation, ground
from tests.chaos.log import Log
from tests.chaos.stage import Stage

ENDED_S = 60.0  # within which the stage must have ended


def heads(count: int, seed: int, log: Log) -> None:
    with ground() as place:
        head_kills(count, seed, log, place)


def head_kills(count: int, seed: int, log: Log, place: Ground, mutate: Mutation | None = None) -> None:
    """`count` deaths of the head, over as many stages as it takes.

    The stage itself lives on: it runs beside the head's processes, or, by a draw, on a worker node. All other nodes are
    then ended too, and a cluster is started anew.
    """
    draw, done = random.Random(seed), 0
    while done < count and not (mutate and log.wrong):
        stage = place.begin(mutate, driver := draw.randint(0, 1))
        while done < count and stage.victims(draw):
            place.cluster.nodes[0].kill()
            felt = _check_end(stage, log)
            done += felt
            what = "on a worker" if driver else "on the head"
            log.fault(f"head killed, stage {what}{'' if felt else ', at its very end'}", turn=place.stages)
            place.anew()
            driver = draw.randint(0, 1)
            stage.go_on(place.drive(stage.workspace, driver))
        place.judge(stage, log, turn=place.stages)


def _check_end(stage: Stage, log: Log) -> bool:
    """Whether the stage has felt the loss: nodes train on meanwhile, and it may end well before."""
    since, process = time.monotonic(), stage.watched.process
    try:
        code: int | None = process.wait(timeout=2 * ENDED_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = None
    seconds = time.monotonic() - since
    log.check(code is not None and seconds <= ENDED_S, "the stage ends within 60 s", seconds=round(seconds, 1))
    said = [] if code in (0, LOST) else list(stage.watched.lines[-40:])
    log.check(code in (0, LOST), "the exit code says that the head was lost, or all is done", code=code, said=said)
    return code != 0
