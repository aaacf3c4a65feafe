"""MLflow outages while a run is trained: training waits for none of them, and then MLflow has every row once."""

import contextlib
import io
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from pipeline import config, worker
from pipeline.config import RunSpec
from pipeline.run_store.run_folder import RunFolder
from pipeline.run_store.tables import HISTORY
from pipeline.tracking import sync as tracking
from pipeline.tracking.sync import sync, syncing
from resnet.history import Row
from resnet.training import Training, train
from tests.chaos.disks import Disk, disk
from tests.chaos.harness import Play
from tests.chaos.proxy import Fault, Proxy
from tests.factories.params import params, write
from tests.factories.stores import SPEC, setting, train_here
from tests.factories.tracking import Server, until

KINDS = ("killed", "suspended", "slow", "500s", "refused", "reset", "disk full")
ITERATIONS = 160
FREE = 32_768  # bytes at most that a full disk has left
SIZE = 192 << 20  # bytes of the server's disk
HELD_S = 1.0  # of a step, at most
TIMEOUT_S = 3  # of a request: HELD_S must differ from it
PATIENCE = 3  # turns per outage: the sync may not have felt it
RECIPE = replace(SPEC.recipe, iterations=ITERATIONS, lr_drops=(ITERATIONS // 2,), record_every=1, validate_every=40)
SCHEDULER = Path("/proc/thread-self/schedstat")  # ns on a processor, ns of waiting for one, slices


@dataclass
class Service:
    """A server, the disk of its database, and the proxy in front of it."""

    full: Disk
    draw: random.Random
    server: Server = field(init=False)
    proxy: Proxy = field(init=False)

    def __post_init__(self) -> None:
        folder = Path(self.full.folder, "server")
        folder.mkdir()
        self.server = Server(folder)
        self.server.start()
        self.proxy = Proxy(self.server.port)

    def begin(self, kind: str) -> None:
        self.proxy.fault = Fault(kind, random.Random(self.draw.random()))
        if kind == "killed":
            self.server.kill()
        elif kind == "suspended":
            self.server.signal(signal.SIGSTOP)
            until(lambda: self.server.state() == "T")
        elif kind == "refused":
            self.proxy.refuse()
        elif kind == "disk full":
            self.full.leave(self.draw.randrange(FREE), self.server.pids())

    def end(self) -> None:
        kind = self.proxy.fault.kind
        self.proxy.fault.clear()
        if kind == "killed":
            self.server.start()
        elif kind == "suspended":
            self.server.signal(signal.SIGCONT)
        elif kind == "refused":
            self.proxy.listen()
        elif kind == "disk full":
            self.full.empty()

    def close(self) -> None:
        self.proxy.close()
        self.server.kill()


@dataclass
class Turn:
    """One run under one outage, which begins and ends by what the run has done, not by the clock."""

    service: Service
    kind: str
    begins: int  # iteration
    ends: int | None  # iteration; None: after the stage
    updates: list[str | None] = field(default_factory=list)  # the problem of each update during the outage
    on: bool = False
    held_s: float = 0.0  # the longest that a step was held up

    def train(self, run: Training, *arguments: Any) -> Iterator[Training]:
        """As `resnet.training.train`, with the outage between two iterations."""
        for _ in train(run, *arguments):
            before, busy = time.monotonic(), _busy_s()
            yield run
            self.held_s = max(self.held_s, time.monotonic() - before - (_busy_s() - busy))
            if run.iteration == self.begins:
                self.service.begin(self.kind)
                self.on = True
            elif run.iteration == self.ends:
                self.feel()
                self.end()

    def feel(self) -> None:
        """Waits until an update has met the outage."""
        if self.on:
            until(lambda: any(problem is not None for problem in self.updates) or len(self.updates) >= 3)

    def end(self) -> None:
        if self.on:
            self.on = False
            self.service.end()

    @property
    def felt(self) -> bool:
        return any(problem is not None for problem in self.updates) or self.kind == "slow"


def outages(play: Play) -> None:
    """As many outages as required, of each kind in turn, each over a run of its own."""
    torch.set_num_threads(1)
    tracking.INTERVAL_S, tracking.PATIENCE_S = 0.1, 2.0
    worker.CHECKPOINT_FRACTION = 1e9
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(TIMEOUT_S)
    if play.mutation is not None:
        play.mutation()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(temporary))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # the line at the end of each sync
        service = Service(stack.enter_context(disk(Path(temporary, "disk"), SIZE)), play.draw)
        stack.callback(service.close)
        os.environ["MLFLOW_TRACKING_URI"] = service.proxy.uri
        write(Path("params.yaml"), params())
        dealt: list[str] = []
        for _ in range(PATIENCE * play.count):
            if play.over:
                break
            dealt = dealt or play.draw.sample(KINDS, len(KINDS))
            if _play(play, service, dealt[-1]):
                dealt.pop()


def _play(play: Play, service: Service, kind: str) -> bool:
    """One run; whether the sync felt the outage."""
    draw, log = play.draw, play.log
    begins = draw.randint(1, ITERATIONS // 2)
    turn = Turn(service, kind, begins, begins + draw.randint(5, 60) if draw.random() < 0.75 else None)
    spec = replace(SPEC, recipe=RECIPE, key=f"{draw.getrandbits(256):064x}")
    how = setting(Path("data", "tiny").absolute(), checkpoint_s=0.0)
    with _listening(turn), syncing(config.load("tiny"), [spec]):
        setattr(worker, "train", turn.train)  # noqa: B010
        train_here(Path(".runs").absolute(), how, spec)
        turn.feel()
    setattr(worker, "train", train)  # noqa: B010
    turn.end()
    with _listening(Turn(service, "none", 0, None)), syncing(config.load("tiny"), [spec]):
        pass  # as the same command again
    outcome = _sync_until_complete(spec)
    log.check(outcome is None, "with MLflow back everything is sent", problem=outcome)
    log.check(turn.held_s <= HELD_S, "no step is held up by more than a second", seconds=round(turn.held_s, 3))
    _check_once(play, service.server, spec)
    if turn.felt:
        log.fault(kind, begins=turn.begins, ends=turn.ends, held_s=round(turn.held_s, 4))
    return turn.felt


@contextlib.contextmanager
def _listening(turn: Turn) -> Iterator[None]:
    """Notes the outcome of each update of the syncing thread."""
    update = tracking.Updater.update

    def noted(self: tracking.Updater, over: bool = False) -> None:
        update(self, over)
        if turn.on:
            turn.updates.append(self._problem)

    tracking.Updater.update = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        tracking.Updater.update = update  # type: ignore[method-assign]


def _sync_until_complete(spec: RunSpec) -> str | None:
    """Publishes the run and sends it by the command `sync`; the problem that is left."""
    target = Path("runs", "tiny", spec.name)
    if target.exists():
        for path in target.iterdir():
            path.unlink()
        target.rmdir()
    RunFolder(Path(".runs").absolute() / spec.key).publish(spec, target)
    return sync("tiny", patience_s=60.0).problem


def _check_once(play: Play, server: Server, spec: RunSpec) -> None:
    """Every row is in MLflow, with its values, and none twice."""
    from mlflow import MlflowClient

    folder = RunFolder(Path(".runs").absolute() / spec.key)
    history, log = folder.rows(), play.log
    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name("tiny")
    runs = client.search_runs([found.experiment_id], f"tags.run_key = '{spec.key}'") if found else []
    log.check(len(runs) == 1, "MLflow has one run of this key", has=len(runs))
    if not runs:
        return
    run = runs[0].info
    log.check(run.status == "FINISHED", "the run is finished there", status=run.status)
    for key, rows in _expected(history).items():
        got = sorted((point.step, point.value) for point in client.get_metric_history(run.run_id, key))
        lost, doubled = len(set(rows) - set(got)), len(got) - len({step for step, _ in got})
        log.check(not lost, "no row is lost", metric=key, lost=lost, rows=len(rows))
        log.check(not doubled and len(got) == len(rows), "no row is doubled", metric=key, doubled=doubled)
    files = list(server.folder.rglob(f"{run.run_id}/artifacts/{HISTORY}"))
    same = [path.read_bytes() for path in files] == [(folder.path / HISTORY).read_bytes()]
    log.check(same, "its history.csv is there, whole")


def _expected(history: list[Row]) -> dict[str, list[tuple[int, float]]]:
    """Iterations and values by metric."""
    return {
        "epoch": [(row.iteration, row.epoch) for row in history],
        "lr": [(row.iteration, row.lr) for row in history],
        "train/loss": [(row.iteration, row.train_loss) for row in history],
        "train/top1_error": [(row.iteration, row.train_top1_error_percent) for row in history],
        "val/loss": [(row.iteration, row.val_loss) for row in history if row.val_loss is not None],
    }


def _busy_s() -> float:
    """Seconds that this thread has worked, or would have had it been given a processor."""
    if not SCHEDULER.exists():
        return time.thread_time()
    worked, waited, _ = SCHEDULER.read_text().split()
    return (int(worked) + int(waited)) / 1e9
