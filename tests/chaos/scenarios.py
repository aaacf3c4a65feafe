"""All scenarios: what happens, how often, and what must hold then."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.damage import damages
from tests.chaos.killing import kills
from tests.chaos.log import Log


@dataclass(frozen=True, slots=True)
class Scenario:
    what: str
    holds: str
    number: int  # of faults in the whole pass
    run: Callable[[int, int, Log], None]  # (number, seed, log)


SCENARIOS = {
    "kills": Scenario(
        "SIGKILL of a training process, at random moments and before and after every step of writing its files",
        "the same weights, bit for bit; every batch applied once and in order",
        200,
        kills,
    ),
    "damage": Scenario(
        "a checkpoint cut short, or with one bit flipped; now and then the one before it too",
        "the last good state, or the beginning; never another",
        256,
        damages,
    ),
}


def play(name: str, seed: int, share: float, path: Path | None = None) -> Log:
    """One scenario with that share of its faults."""
    scenario = SCENARIOS[name]
    log = Log(path, name, seed)
    scenario.run(max(1, math.ceil(scenario.number * share)), seed, log)
    return log
