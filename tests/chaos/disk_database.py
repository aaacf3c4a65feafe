"""A full disk under MLflow's SQLite file and the files beside it."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.records import RunRecord
from pipeline.tracking import Tracker, tracker
from resnet.history import Row
from tests.chaos.disk import Scene
from tests.chaos.disk_stages import Ended, forked
from tests.tracking_maker import Database, empty_tables, facts, finished, fresh_database, key, rows

ROWS = 300
LATER_ROWS_TAKE = 400_000  # bytes at most: free by so much, the disk is full for some draws and not for others
WAIT_S = 60.0  # on what comes by itself; no outcome depends on it


@dataclass
class Tracked:
    """One run a turn, with a database of its own on the disk."""

    scene: Scene

    def turn(self, number: int) -> bool:
        """One fault, unless there was room enough for everything."""
        empty_tables()  # in this process once, and with them MLflow is imported, for all children
        draw = self.scene.draw
        folder = Path(f"mlflow{number}").absolute()
        folder.mkdir()
        database = fresh_database(folder)
        history = rows(ROWS)
        shutil.rmtree(self.scene.elsewhere / "tracked", ignore_errors=True)
        done = finished(self.scene.elsewhere / "tracked", 1, history)
        full_from = draw.randint(2, ROWS)
        free = draw.randrange(LATER_ROWS_TAKE)
        ended = forked(lambda: self._track(database.path, history, done, full_from, free))
        self._check(ended.code == 0, "nothing is raised, and the run goes on to its end", ended)
        hit = "not sent" in ended.said
        if hit:
            self._check("later: python -m pipeline.track" in ended.said, "what is missing is said, and the way", ended)
        self.scene.full.make_room()
        self._check(_whole(database.path), "the database is whole", ended)
        again = forked(lambda: _catch_up(database.path, done))
        self._check(again.code == 0 and "has 1 run" in again.said, "with room the rest is sent", again)
        self._check(_once(database, history), "every row is there, and none twice", again)
        shutil.rmtree(folder)
        return hit

    def _track(self, path: Path, history: list[Row], done: tuple[RunRecord, Path], full_from: int, free: int) -> None:
        """An invocation that meets the full disk at a drawn row."""
        self.scene.first()
        _hasten()
        tracking = Tracker("digits", uri=f"sqlite:///{path}")
        tracking.begin(facts(1))
        tracking.rows(key(1), history[: full_from - 1])
        _until(lambda: not tracking._ledger.unsent())
        self.scene.full.leave(free)
        self.scene.full.bind()
        tracking.rows(key(1), history[full_from - 1 :])
        tracking.finish(*done)
        _until(lambda: tracking._reason is not None or not tracking._ledger.unsent())
        print(tracking.close(0.5).line())

    def _check(self, holds: bool, what: str, ended: Ended) -> None:
        said = {} if holds else {"code": ended.code, "said": ended.said, "errors": ended.errors[-2000:]}
        self.scene.log.check(holds, f"MLflow's database: {what}", **said)


def _catch_up(path: Path, done: tuple[RunRecord, Path]) -> None:
    """The next invocation."""
    _hasten()
    tracking = Tracker("digits", uri=f"sqlite:///{path}")
    tracking.finish(*done, "cifar10")
    print(tracking.close(WAIT_S).line())


def _hasten() -> None:
    tracker.FLUSH_S, tracker.FIRST_PAUSE_S, tracker.LONGEST_PAUSE_S = 0.02, 0.05, 0.1


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def _whole(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def _once(database: Database, history: list[Row]) -> bool:
    try:
        database.holds_once(1, history)
    except (AssertionError, ValueError):
        return False
    return True
