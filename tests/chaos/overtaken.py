"""Attempts at one run that overlap: two that begin at once, and one that is suspended, overtaken and resumed."""

import functools
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.run_store import lease
from tests.chaos.harness import Play
from tests.chaos.victim import ENDED, World, attempt, exit_code, world
from tests.factories.stores import contents

LONGEST_S = 0.3  # until an attempt is suspended
PATIENCE_S = 60.0
MEET_S = 2.0  # that an attempt waits for the other one at the creation of its lease


def overtaken(play: Play) -> None:
    """Both kinds in turn, each on a new run."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        top, turn = Path(temporary), 0
        whole = world(top / "undisturbed", top / "data")
        play.log.check(exit_code(attempt(whole)) == ENDED, "the undisturbed run ends")
        while not play.over:
            turn += 1
            one = world(top / f"run{turn}", top / "data")
            (_at_once if turn % 2 else _suspended)(play, one)
            code = exit_code(attempt(one))
            play.log.check(code == ENDED, "a last attempt ends well", code=code)
            play.log.check(one.result() == whole.result(), "the result is that of the undisturbed run", run=turn)


def _at_once(play: Play, one: World) -> None:
    """Two attempts that create the lease at the same moment."""
    first = functools.partial(_meet, one.store, play.mutation)
    pids = [attempt(one, first=first) for _ in range(2)]
    for pid in pids:
        exit_code(pid)
    trained = {pid for pid, _, _ in one.batches()}
    play.log.check(len(trained) == 1, "one of two attempts trains", trained=len(trained))
    play.log.fault("two at once")


def _meet(store: Path, mutation: Any) -> None:
    """Lets `create` of the lease wait until the other attempt is about to create it too."""
    if mutation is not None:
        mutation()
    create = vars(lease)["create"]  # the mutation's, where there is one

    def together(path: Path, content: bytes) -> bool:
        (store / f"meet-{os.getpid()}").touch()
        deadline = time.monotonic() + MEET_S
        while len(list(store.glob("meet-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        return bool(create(path, content))

    setattr(lease, "create", together)  # noqa: B010


def _suspended(play: Play, one: World) -> None:
    """An attempt that is suspended at a drawn moment and resumed when another has finished the run."""
    pid = attempt(one, first=play.mutation)
    deadline = time.monotonic() + PATIENCE_S
    while not one.batches() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(play.draw.uniform(0.0, LONGEST_S))
    os.kill(pid, signal.SIGSTOP)
    suspended = not one.run.finished
    if suspended:
        other = exit_code(attempt(one, first=_as_if_stale))
        play.log.check(other == ENDED and one.run.finished, "another attempt takes over and ends", code=other)
    before = contents(one.run.path)
    os.kill(pid, signal.SIGCONT)
    exit_code(pid)
    if suspended:
        after = contents(one.run.path)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        # one file may have been under way, with the same bytes but for the times in a history
        play.log.check(len(changed) <= 1, "an attempt that was overtaken writes nothing more", changed=changed)
        play.log.check("run.json" not in changed, "a finished run is not replaced")
        play.log.fault("suspended and overtaken")


def _as_if_stale() -> None:
    lease.STALE_S = -1e9
