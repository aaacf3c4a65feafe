"""A full disk under the run store: checkpoints of a run that is under way, and what a finished run leaves."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest.mock import patch

from pipeline.store import checkpoints
from pipeline.training import worker
from pipeline.training.worker import execute
from tests.chaos.disk import Scene, pages
from tests.chaos.disk_stages import Ended, forked
from tests.chaos.victim import Death, World, attempt, world

WHAT = "the run store"


@dataclass
class Store:
    """One run a turn, in a store of its own on the disk; its data are on another."""

    scene: Scene

    @cached_property
    def undisturbed(self) -> World:
        whole = self._world(self.scene.elsewhere / "undisturbed")
        self._check(_train(whole, None).code == 0, "the undisturbed run ends well")
        return whole

    @cached_property
    def needed(self) -> int:
        """Bytes of the disk at the most: two checkpoints, and a third that is being written."""
        one = self._world(Path("measured").absolute())
        os.waitpid(attempt(one, Death("unlink", 5, after=False)), 0)
        used = pages(one.job.slot.folder)
        shutil.rmtree("measured")
        return used

    def _world(self, folder: Path) -> World:
        return world(folder, self.scene.elsewhere / "digits")

    def turn(self, number: int) -> bool:
        """One fault, unless there was room enough to the end of the run."""
        undisturbed, needed, draw = self.undisturbed, self.needed, self.scene.draw
        one = self._world(Path(f"run{number}").absolute())
        slot = one.job.slot
        if draw.random() < 0.7:  # it goes on from a checkpoint
            os.waitpid(attempt(one, Death("replace", draw.randint(1, 30), draw.random() < 0.5)), 0)
        before = _iterations(slot.folder)
        room = needed - pages(slot.folder)
        self.scene.full.leave(max(0, draw.randrange(-needed // 10, room)))
        ended = _train(one, self.scene)
        hit = ended.code != 0
        if hit:
            self._check_kept(one, before, ended)
        self.scene.full.make_room()
        again = _train(one, None)
        self._check(again.code == 0, "with room the same command goes on to the end", again)
        self._check(one.result() == undisturbed.result(), "the result is that of the undisturbed run", again)
        shutil.rmtree(f"run{number}")
        return hit

    def _check_kept(self, one: World, before: list[int], ended: Ended) -> None:
        slot = one.job.slot
        self._check(ended.refusal, "a full disk is told in one line, with exit code 3", ended)
        left = [path.name for path in slot.folder.glob(".*")]
        self._check(not left, "nothing half is left", ended)
        if slot.finished:  # it failed after its end, or did not
            same = one.result() == self.undisturbed.result()
            self._check(same, "a run that counts as finished is whole", ended)
            return
        now = _iterations(slot.folder)
        self._check(-1 not in now, "every checkpoint is whole", ended)
        self._check(max(now, default=0) >= max(before, default=0), "the last good state is there", ended)

    def _check(self, holds: bool, what: str, ended: Ended | None = None) -> None:
        said = {} if holds or ended is None else {"code": ended.code, "errors": ended.errors[-2000:]}
        self.scene.log.check(holds, f"{WHAT}: {what}", **said)


def _train(one: World, scene: Scene | None) -> Ended:
    def main() -> None:
        with patch.object(worker, "CHECKPOINT_SHARE", 1e9):
            for _ in execute(one.job):
                pass

    return forked(main, scene.first) if scene else forked(main)


def _iterations(folder: Path) -> list[int]:
    """Of the checkpoints that are there; -1 for one that is damaged."""
    return [_iteration(path.read_bytes()) for path in sorted(folder.glob("checkpoint-*"))]


def _iteration(content: bytes) -> int:
    payload = content[checkpoints.DIGEST_BYTES :]
    whole = hashlib.sha256(payload).digest() == content[: checkpoints.DIGEST_BYTES]
    state = checkpoints._state(payload) if whole else None
    return -1 if state is None else int(state["iteration"])
