"""A full disk under everything that is written: at drawn bytes, and then there is room again."""

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.apart import Part, play_apart
from tests.chaos.disk import Scene, disk
from tests.chaos.disk_database import Tracked
from tests.chaos.disk_folders import TARGETS, Folders
from tests.chaos.disk_store import Store
from tests.chaos.log import Log

SIZE = 64 << 20  # bytes of the disk
PATIENCE = 6  # turns a fault: where there was room enough, nothing has failed
STORE, EVALUATION, DATABASE = "checkpoints and results of a run", "kept evaluations", "MLflow's database"
KINDS = (STORE, *TARGETS, EVALUATION, DATABASE)
Turn = Callable[[int], bool]  # by its number; whether the disk was full in it


Broken = Callable[[], Any]  # breaks the stages


def full_disks(count: int, seed: int, log: Log) -> None:
    play([Part(log, count, KINDS)])


def play(parts: Sequence[Part[Broken]]) -> None:
    """All parts on one disk, in a process of its own."""
    play_apart(parts, _play_all)


def _play_all(parts: Sequence[Part[Broken]]) -> None:
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary, disk(Path(temporary, "disk"), SIZE) as full:
        scene = Scene(full, Path(temporary, "elsewhere"), random.Random(), parts[0].log)
        os.chdir(full.folder)
        turns = _turns(scene)
        for part in parts:
            scene.draw, scene.log, scene.mutate = random.Random(part.log.seed), part.log, part.mutation
            _play(part, scene, turns)
        os.chdir("/")


def _turns(scene: Scene) -> dict[str, Turn]:
    folders = Folders(scene)
    return {
        STORE: Store(scene).turn,
        EVALUATION: folders.evaluation,
        DATABASE: Tracked(scene).turn,
        **{kind: partial(folders.folder, kind) for kind in TARGETS},
    }


def _play(part: Part[Broken], scene: Scene, turns: dict[str, Turn]) -> None:
    log, dealt = part.log, list[str]()
    for number in range(PATIENCE * part.count):
        if log.done.total() == part.count or (part.mutation and log.wrong):
            return
        dealt = dealt or scene.draw.sample(part.kinds, len(part.kinds))
        if turns[dealt[-1]](number):
            log.fault(dealt.pop(), by=scene.full.how)
    log.check(log.done.total() == part.count, "the disk was full as often as was asked for")
