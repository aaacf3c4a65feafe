"""Worker nodes that die: all their processes are killed, or the machine falls silent, as by its plug."""

import random

from tests.chaos.ground import Ground, Mutation, ground
from tests.chaos.log import Log


def nodes(count: int, seed: int, log: Log) -> None:
    with ground() as place:
        node_kills(count, seed, log, place)


def node_kills(count: int, seed: int, log: Log, place: Ground, mutate: Mutation | None = None) -> None:
    """`count` deaths of nodes that train, over as many stages as it takes; each must end as the undisturbed one did.

    A node that has died is started again at once, and the others train on meanwhile. With `mutate`, which breaks the
    code on purpose, the first difference is enough.
    """
    draw, done = random.Random(seed), 0
    while done < count and not (mutate and log.wrong):
        stage = place.begin(mutate)
        while done < count and (found := stage.victims(draw)):
            node, silent = found[0][1], draw.random() < 0.5 and place.cluster.links is not None
            place.lose(node, draw.uniform(2.0, 12.0) if silent else 0.0)
            for attempt, its_node in found:
                if its_node is node:
                    stage.strike(attempt)
            done += 1
            log.fault("node fell silent" if silent else "node killed", node=node.name, attempts=len(found))
        place.judge(stage, log, turn=place.stages)
