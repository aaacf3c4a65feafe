"""SIGKILLs of a training process: at random moments, and before and after every step of writing its files."""

import os
import random
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.apart import Part, play_apart
from tests.chaos.log import Log
from tests.chaos.victim import STEPS, Death, World, attempt, world

LONGEST_S = 0.4  # until a kill at a random moment; a whole run takes about as long
KILLS_A_RUN = 10
PATIENCE = 400  # attempts, by which a run must have ended

Mutation = Callable[[], Any]


def kills(count: int, seed: int, log: Log) -> None:
    play([Part(log, count)])


def play(parts: Sequence[Part[Mutation]]) -> None:
    """All parts in a process of their own, which forks the victims and never trains itself."""
    play_apart(parts, _play_all)


def _play_all(parts: Sequence[Part[Mutation]]) -> None:
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        top = Path(temporary)
        whole = [world(top / f"undisturbed{i}", top / "data", diverges=bool(i)) for i in range(2)]
        ended = [_ended(attempt(one)) for one in whole] == [0, 0]
        for i, part in enumerate(parts):
            part.log.check(ended, "the undisturbed runs end")
            _play(part, whole, top / f"part{i}", top / "data")


def _play(part: Part[Mutation], whole: list[World], top: Path, data: Path) -> None:
    """Kills over runs that are begun anew when they have ended; each must end as the undisturbed one did.

    Every second run diverges, so that the end of such a run is among what is killed.
    """
    log, draw = part.log, random.Random(part.log.seed)
    done = turn = 0
    while done < part.count and not (part.mutation and log.wrong):
        turn += 1
        one = world(top / f"run{turn}", data, diverges=turn % 2 == 0)
        done += _one_run(one, min(KILLS_A_RUN, part.count - done), draw, log, part.mutation)
        undisturbed = whole[one.diverges]
        log.check(one.result() == undisturbed.result(), "the result is that of the undisturbed run", run=turn)
        if one.job.slot.finished:
            log.check(one.seconds() == sorted(one.seconds()), "the time of all attempts is counted", run=turn)
        _check_ledger(one, _batches(undisturbed), log, turn)


def _one_run(one: World, most: int, draw: random.Random, log: Log, mutate: Mutation | None) -> int:
    """Attempt after attempt until the run has ended; the number of those that were killed."""
    killed = 0
    for _ in range(PATIENCE):
        pid, kind = _dealt(one, killed < most, draw, mutate)
        code = _ended(pid)
        if code == -signal.SIGKILL:
            killed += 1
            log.fault(kind)
        elif code != 0:
            log.check(False, f"an attempt ends well or is killed, not by {code}")
            return killed
        elif one.job.slot.finished:
            return killed
    log.check(False, "the run ends at last")
    return killed


def _dealt(one: World, dies: bool, draw: random.Random, mutate: Mutation | None) -> tuple[int, str]:
    """An attempt, and what it is to die of."""
    if not dies:
        return attempt(one, mutate=mutate), "nothing"
    if draw.random() < 0.5:
        step = draw.choice(STEPS)
        death = Death(step, 1 if step == "store" else draw.randint(1, 12), draw.random() < 0.5)
        return attempt(one, death, mutate), f"{'after' if death.after else 'before'} {death.step}"
    pid = attempt(one, mutate=mutate)
    time.sleep(draw.uniform(0.0, LONGEST_S))
    os.kill(pid, signal.SIGKILL)
    return pid, "at a random moment"


def _ended(pid: int) -> int:
    """Its exit code, or the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _batches(one: World) -> dict[int, str]:
    """What each iteration saw, by the ledger of an undisturbed run."""
    return {iteration: digest for _, iteration, digest in _lines(one)}


def _lines(one: World) -> list[tuple[int, int, str]]:
    rows = [line.split() for line in one.ledger.read_text().splitlines()]
    return [(int(pid), int(iteration), digest) for pid, iteration, digest in rows]


def _check_ledger(one: World, expected: dict[int, str], log: Log, turn: int) -> None:
    """Every iteration saw its own batch, in whichever attempt; none was left out, and no attempt took one twice."""
    seen: dict[int, set[str]] = defaultdict(set)
    by_attempt: dict[int, list[int]] = defaultdict(list)
    for pid, iteration, digest in _lines(one):
        seen[iteration].add(digest)
        by_attempt[pid].append(iteration)
    log.check(set(seen) == set(expected), "no batch was left out, and none was too many", run=turn)
    own = all(seen[i] == {expected[i]} for i in seen if i in expected)
    log.check(own, "each iteration saw its own batch", run=turn)
    in_order, reached = True, 0
    for its in by_attempt.values():
        in_order = in_order and its == list(range(its[0], its[0] + len(its))) and its[0] <= reached + 1
        reached = max(reached, its[-1])
    log.check(in_order, "no attempt took a batch twice or left one out", run=turn)
