"""A full disk under everything that is written: at drawn bytes, and then there is free space again."""

import contextlib
import ctypes
import hashlib
import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

import pipeline.evaluate
import pipeline.prepare
import pipeline.report
import pipeline.train
from pipeline import config, worker
from pipeline.data.prepared import manifest_of
from pipeline.errors import run_command
from pipeline.evaluation import run as evaluation
from pipeline.evaluation.jobs import jobs
from pipeline.run_store import checkpoint, lease
from pipeline.run_store.run_key import plan
from pipeline.storage import locate
from pipeline.tracking.sync import sync
from pipeline.worker import Setting
from tests.chaos.harness import Play
from tests.chaos.victim import RECIPE, Death, World, attempt, exit_code, world
from tests.factories import tracking
from tests.factories.data import Snapshot, snapshot
from tests.factories.params import params, write
from tests.factories.stores import SPEC

FORCE = "CHAOS_DISK"  # set to `limit` to have the second form where the first is possible
CLONE_NEWNS = 0x00020000  # of sched.h
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18  # of sys/mount.h
EACH = 8  # a limit gives each file this fraction of what a disk gives all of them
HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
PAGE = 4096  # bytes, in which a file system in memory is filled
SIZE = 64 << 20  # bytes of the disk
NAME = "tiny"
STORE, DATABASE = "run store", "MLflow's database"
OLDER = "older"  # a file that marks an earlier output
STAGES: dict[str, Callable[[], Any]] = {
    "data": lambda: pipeline.prepare.prepare(config.load(NAME)),
    "runs": lambda: pipeline.train.train(NAME, []),
    "results": lambda: pipeline.evaluate.evaluate(NAME),
    "reports": lambda: pipeline.report.write(config.load(NAME), Path()),
}
ROWS, LATER_ROWS_TAKE = 300, 400_000  # rows of a run in MLflow; bytes of the later ones at most
PATIENCE = 8  # turns per fault: where there was enough space, nothing has failed


class Disk:
    """A file system in memory, for this process and its children alone.

    Where it may not be mounted, a limit on the size of files (RLIMIT_FSIZE): of the processes that call `bind`, and of
    those that are named.
    """

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.how = "tmpfs" if os.environ.get(FORCE) != "limit" and _mount(folder, size) else "RLIMIT_FSIZE"
        self._filler, self._limit = folder / ".filler", HARD
        self._limited: list[int] = []

    def leave(self, free: int, pids: Iterable[int] = ()) -> None:
        """Leaves so many bytes, in whole pages; with a limit, no file longer than a fraction of that."""
        if self.how == "tmpfs":
            while not self._fill(free):  # another process has just taken a part of it
                pass
            return
        self._limit, self._limited = free // EACH, list(pids)
        self._set()

    def _fill(self, free: int) -> bool:
        with self._filler.open("wb") as file, suppress(OSError):
            stat = os.statvfs(self.folder)
            taken = stat.f_bavail * stat.f_frsize - free // PAGE * PAGE
            if taken > 0:
                os.posix_fallocate(file.fileno(), 0, taken)
            return True
        return False

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)
        self._limit = HARD
        self._set()

    def bind(self) -> None:
        """Called by a child before it works."""
        if self.how != "tmpfs":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit, HARD))

    def _set(self) -> None:
        for pid in self._limited:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (self._limit, HARD))


def _mount(folder: Path, size: int) -> bool:
    libc = ctypes.CDLL(None)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        return False
    return not libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode())


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """A disk that is unmounted at the end."""
    made = Disk(folder, size)
    try:
        yield made
    finally:
        if made.how == "tmpfs":
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def pages(folder: Path) -> int:
    """Bytes that the files below take in whole pages."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


# Commands in forks


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    output: str
    errors: str

    @property
    def refusal(self) -> bool:
        """One line for the user, and the exit code of an environment that is at fault."""
        lines = [line for line in self.errors.splitlines() if line.startswith("error: ")]
        return self.code == 3 and len(lines) == 1 and "Traceback" not in self.errors


def command(main: Callable[[], Any], first: Callable[[], Any] | None = None) -> Ended:
    """Runs `main` as a command of the pipeline in a fork, after `first`, which may change its copy of the code."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        pid = os.fork()
        if pid == 0:
            _run(main, first, out, errors)
        code = exit_code(pid)
        out.seek(0)
        errors.seek(0)
        return Ended(code, out.read(), errors.read())


def _run(main: Callable[[], Any], first: Callable[[], Any] | None, out: IO[str], errors: IO[str]) -> None:
    code: Any = 1
    try:
        sys.stdout, sys.stderr = out, errors
        logging.root.handlers.clear()
        torch.set_num_threads(1)
        if first is not None:
            first()
        run_command(main)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:  # what was printed is written even where a limit stands for a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))
        out.flush()
        errors.flush()
        os._exit(code)


# Turns


@dataclass(slots=True)
class Turns:
    """One turn per fault, on each kind of file in turn. The working folder is on the disk that becomes full."""

    play: Play
    full: Disk
    elsewhere: Path  # a folder on another disk
    made: dict[str, Snapshot] = field(default_factory=dict)
    whole: World | None = None
    needed: int = 0

    def first(self) -> None:
        """In the child that meets the full disk."""
        self.full.bind()
        if self.play.mutation is not None:
            self.play.mutation()

    def check(self, holds: bool, where: str, what: str, ended: Ended | None = None) -> None:
        facts = {} if holds or ended is None else {"code": ended.code, "errors": ended.errors[-2000:]}
        self.play.log.check(holds, f"{where}: {what}", **facts)

    # the run store

    def store(self, number: int) -> bool:
        """One run in a store of its own; whether the disk was full before it ended."""
        whole, draw = self._undisturbed(), self.play.draw
        one = world(Path(f"run{number}").absolute(), self.elsewhere / "digits")
        if draw.random() < 0.7:  # it resumes from a checkpoint
            exit_code(attempt(one, Death("replace", draw.randint(1, 30), draw.random() < 0.5)))
        before, killed = iterations(one.run.path), set(one.run.path.glob(".*"))  # what the kill left half-written
        self.full.leave(max(0, draw.randrange(-self.needed // 10, self.needed - pages(one.store))))
        ended = command(partial(_train, one), self.first)
        if ended.code != 0:
            self._check_kept(one, before, killed, ended)
        self.full.empty()
        again = command(partial(_train, one))
        self.check(again.code == 0, STORE, "with free space the same command resumes to the end", again)
        self.check(one.result() == whole.result(), STORE, "the result is that of the undisturbed run", again)
        shutil.rmtree(one.store)
        return ended.code != 0

    def _undisturbed(self) -> World:
        if self.whole is None:
            self.whole = world(self.elsewhere / "undisturbed", self.elsewhere / "digits")
            self.check(command(partial(_train, self.whole)).code == 0, STORE, "the undisturbed run ends")
            one = world(Path("measured").absolute(), self.elsewhere / "digits")
            exit_code(attempt(one, Death("unlink", 8, after=False)))
            self.needed = pages(one.store)  # two checkpoints, and a third that is being written
            shutil.rmtree(one.store)
        return self.whole

    def _check_kept(self, one: World, before: list[int], killed: set[Path], ended: Ended) -> None:
        self.check(ended.refusal, STORE, "a full disk is one line, with exit code 3", ended)
        self.check(set(one.run.path.glob(".*")) <= killed, STORE, "no half-written file is left", ended)
        if one.run.finished:  # it failed after its end, or did not
            same = self.whole is not None and one.result() == self.whole.result()
            self.check(same, STORE, "a run that counts as finished is whole", ended)
            return
        now = iterations(one.run.path)
        self.check(-1 not in now, STORE, "every checkpoint is whole", ended)
        self.check(max(now, default=0) >= max(before, default=0), STORE, "the last good state is kept", ended)

    # the folders of the stages

    def folder(self, kind: str, _number: int) -> bool:
        """One stage; whatever happens, its folder is then as it was."""
        os.environ["MLFLOW_TRACKING_URI"] = "none:"  # refused at once
        if not self.made:
            self._prepare_all()
        target, whole, draw = Path(kind, NAME), self.elsewhere / "whole" / kind, self.play.draw
        shutil.rmtree(target)
        if draw.random() < 0.7:
            shutil.copytree(whole, target)
            Path(target, OLDER).write_text("as it was")
        before = snapshot(target)
        # runs are links on one disk: the records alone take space
        self.full.leave(draw.randrange(PAGE * 4 if kind == "runs" else pages(whole)))
        ended = command(STAGES[kind], self.first)
        if ended.code != 0:
            self.check(ended.refusal, kind, "a full disk is one line, with exit code 3", ended)
            self.check(snapshot(target) == before, kind, "the folder is as it was before", ended)
            self.check(not list(target.parent.glob(".*")), kind, "no half-written folder is left", ended)
        self.full.empty()
        again = command(STAGES[kind])
        self.check(again.code == 0, kind, "with free space the same command ends well", again)
        self.check(snapshot(target) == self.made[kind], kind, "it makes the same bits", again)
        return ended.code != 0

    def _prepare_all(self) -> None:
        """Runs all stages undisturbed, without a cluster: runs and evaluations are made in forks."""
        write(Path("params.yaml"), params({"tiny.architecture.blocks": [1], "tiny.seeds": [0]}))
        for kind, before in {"data": None, "runs": train_all, "results": evaluate_all, "reports": None}.items():
            ended = [command(main) for main in (before, STAGES[kind]) if main is not None]
            bad = next((one for one in ended if one.code), None)
            assert bad is None, f"the undisturbed stage does not end well: {bad.errors}"
            self.made[kind] = snapshot(Path(kind, NAME))
            shutil.copytree(Path(kind, NAME), self.elsewhere / "whole" / kind)

    # MLflow's file

    def database(self, number: int) -> bool:
        """A sync to an SQLite file on the disk; the finished runs are on another one."""
        folder = Path(f"mlflow{number}").absolute()
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        database, project = tracking.new_database(folder), self.elsewhere / f"project{number}"
        project.mkdir()
        os.environ["MLFLOW_TRACKING_URI"] = database.uri
        history = tracking.rows(ROWS)
        with contextlib.chdir(project):
            tracking.write_data()
            tracking.write_finished(1, history)
            self.full.leave(self.play.draw.randrange(LATER_ROWS_TAKE))
            ended = command(_sync, self.first)
            self.full.empty()
            again = command(_sync)
        hit = "later: python -m pipeline sync" in ended.output
        self.check(ended.code == 0, DATABASE, "a sync raises nothing", ended)
        self.check(_is_whole(database.path), DATABASE, "the database is whole", ended)
        self.check(again.code == 0 and "has 1 run" in again.output, DATABASE, "the rest is sent later", again)
        self.check(_once(database, history), DATABASE, "every row is there, and none twice", again)
        shutil.rmtree(folder)
        return hit


def full_disks(play: Play) -> None:
    """As many full disks as required, on each kind of file in turn."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary, disk(Path(temporary, "disk"), SIZE) as full:
        elsewhere = Path(temporary, "elsewhere")
        elsewhere.mkdir()
        os.chdir(full.folder)
        turns, dealt = Turns(play, full, elsewhere), list[str]()
        kinds: dict[str, Callable[[int], bool]] = {STORE: turns.store, DATABASE: turns.database}
        kinds |= {kind: partial(turns.folder, kind) for kind in STAGES}
        for number in range(PATIENCE * play.count):
            if play.over:
                break
            dealt = dealt or play.draw.sample(list(kinds), len(kinds))
            if kinds[dealt[-1]](number):
                play.log.fault(dealt.pop(), by=full.how)
        os.chdir("/")


def iterations(folder: Path) -> list[int]:
    """The iterations of the checkpoints; -1 for one that is damaged."""
    found = []
    for path in sorted(folder.glob("checkpoint-*")):
        content = path.read_bytes()
        digest, payload = content[: checkpoint.DIGEST_BYTES], content[checkpoint.DIGEST_BYTES :]
        whole = hashlib.sha256(payload).digest() == digest
        found.append(int(path.name.partition("-")[2]) if whole else -1)
    return found


def _train(one: World) -> None:
    """As `victim.attempt`, but errors reach the command."""
    worker.CHECKPOINT_FRACTION = 1e9
    with lease.acquire(one.run.path) as held:
        worker.train_run(replace(SPEC, recipe=RECIPE), one.how, held)


def train_all() -> None:
    """What the train stage runs on Ray."""
    experiment = config.load(NAME)
    how = Setting(data=Path("data", NAME).absolute(), cpus=1, gpus=0.0, checkpoint_s=1e9, commit=None, code_digest="c")
    for spec in plan(experiment, manifest_of(NAME)):
        with lease.acquire(locate(experiment.storage) / spec.key) as held:
            worker.train_run(spec, how, held)


def evaluate_all() -> None:
    """What the evaluate stage runs on Ray."""
    for group in jobs(config.load(NAME), manifest_of(NAME)):
        for job in group:
            with lease.acquire(job.stored.parent) as held:
                evaluation.execute(job, 1, 0.0, held)


def _sync() -> None:
    print(sync(tracking.NAME).line())


def _is_whole(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def _once(database: tracking.Database, history: Any) -> bool:
    try:
        database.holds_once(1, history)
    except (AssertionError, ValueError):
        return False
    return True
