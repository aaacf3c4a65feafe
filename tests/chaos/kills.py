"""SIGKILLs of a training process: at random moments, and before and after every step of writing its files."""

import os
import signal
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.chaos.harness import Play
from tests.chaos.victim import ENDED, STEPS, Death, World, attempt, exit_code, world

LONGEST_S = 0.4  # until a kill at a random moment; a whole run takes about as long
KILLS_A_RUN = 10
PATIENCE = 400  # attempts, by which a run must have ended


def kills(play: Play) -> None:
    """Kills over new runs; each must end as the undisturbed one did. Every second run diverges at its end."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        top, turn = Path(temporary), 0
        whole = [world(top / f"undisturbed{i}", top / "data", diverges=bool(i)) for i in range(2)]
        play.log.check([exit_code(attempt(one)) for one in whole] == [ENDED] * 2, "the undisturbed runs end")
        while not play.over:
            turn += 1
            one = world(top / f"run{turn}", top / "data", diverges=turn % 2 == 0)
            _one_run(play, one)
            same = one.result() == whole[one.diverges].result()
            play.log.check(same, "the result is that of the undisturbed run", run=turn)
            if one.run.finished:
                seconds = [row.seconds for row in one.run.rows()]
                play.log.check(seconds == sorted(seconds), "the time of all attempts is counted", run=turn)
            _check_batches(play, one, whole[one.diverges])


def _one_run(play: Play, one: World) -> None:
    """Attempt after attempt until the run has ended."""
    killed = 0
    for _ in range(PATIENCE):
        pid, kind = _deal(play, one, dies=killed < KILLS_A_RUN and not play.over)
        code = exit_code(pid)
        if code == -signal.SIGKILL:
            killed += 1
            play.log.fault(kind)
        elif code != ENDED:
            play.log.check(False, f"an attempt ends well or is killed, not by {code}")
            return
        elif one.run.finished:
            return
    play.log.check(False, "the run ends in the end")


def _deal(play: Play, one: World, *, dies: bool) -> tuple[int, str]:
    """An attempt, and how it dies."""
    draw = play.draw
    if not dies:
        return attempt(one, first=play.mutation), "nothing"
    if draw.random() < 0.5:
        step = draw.choice(STEPS)
        death = Death(step, 1 if step == "_store" else draw.randint(1, 12), draw.random() < 0.5)
        return attempt(one, death, play.mutation), f"{'after' if death.after else 'before'} {step.strip('_')}"
    pid = attempt(one, first=play.mutation)
    time.sleep(draw.uniform(0.0, LONGEST_S))
    os.kill(pid, signal.SIGKILL)
    return pid, "at a random moment"


def _check_batches(play: Play, one: World, undisturbed: World) -> None:
    """Every iteration saw its own batch, in some attempt; none was left out, and no attempt took one twice."""
    expected = {iteration: digest for _, iteration, digest in undisturbed.batches()}
    seen: dict[int, set[str]] = defaultdict(set)
    by_attempt: dict[int, list[int]] = defaultdict(list)
    for pid, iteration, digest in one.batches():
        seen[iteration].add(digest)
        by_attempt[pid].append(iteration)
    play.log.check(set(seen) == set(expected), "no batch was left out, and none was too many")
    own = all(seen[i] == {expected[i]} for i in seen if i in expected)
    play.log.check(own, "each iteration saw its own batch")
    in_order, reached = True, 0
    for its in by_attempt.values():
        in_order = in_order and its == list(range(its[0], its[0] + len(its))) and its[0] <= reached + 1
        reached = max(reached, its[-1])
    play.log.check(in_order, "no attempt took a batch twice or left one out")
