"""MLflow outages under a run that is being trained: it waits for none of them, and then MLflow has every row once."""

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from pipeline import lifeline
from pipeline.store.slots import Slot
from pipeline.tracking import tracker
from pipeline.training import worker
from pipeline.training.job import Job
from tests.chaos import victim
from tests.chaos.apart import Part, play_apart
from tests.chaos.disk import disk
from tests.chaos.log import Log
from tests.chaos.mlflow_driver import EXPERIMENT, ITERATIONS, Driver, Plan
from tests.chaos.mlflow_holds import check_once
from tests.chaos.outages import KINDS, Service
from tests.chaos.victim import world

Mutation = Callable[[], AbstractContextManager[object]]  # breaks the tracker

SIZE = 192 << 20  # bytes of the server's disk
DELAY_S = 1.0  # of a step, at most
TIMEOUT_S = 5  # of a request: what DELAY_S must be told from
RECIPE = replace(
    victim.RECIPE, iterations=ITERATIONS, lr_drops=(ITERATIONS // 2,), warm_up=None, record_every=1, validate_every=40
)
PATIENCE = 3  # turns an outage: the tracker may not have felt it


def outages(count: int, seed: int, log: Log) -> None:
    play([Part(log, count, KINDS)])


def play(parts: Sequence[Part[Mutation]]) -> None:
    """All parts on one server, in a process of its own."""
    play_apart(parts, _play_all)


def _play_all(parts: Sequence[Part[Mutation]]) -> None:
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        _hasten(stack)
        service = Service(stack.enter_context(disk(temporary / "disk", SIZE)))
        stack.callback(service.close)
        base = world(temporary / "world", temporary / "digits").job
        for i, part in enumerate(parts):
            _play(part, service, base, temporary / f"store{i}")


def _play(part: Part[Mutation], service: Service, base: Job, store: Path) -> None:
    log, draw, dealt = part.log, random.Random(part.log.seed), list[str]()
    service.draw = draw
    for _ in range(PATIENCE * part.count):
        if log.done.total() == part.count or (part.mutation and log.wrong):
            return
        dealt = dealt or draw.sample(part.kinds, len(part.kinds))
        key = f"{draw.getrandbits(256):064x}"
        job = replace(base, spec=replace(base.spec, recipe=RECIPE), key=key, slot=Slot(store / key), checkpoint_s=1e9)
        driver = Driver(service, job, Plan.drawn(dealt[-1], draw))
        with part.mutation() if part.mutation else nullcontext():
            complete = driver.run()
        calls = driver.calls
        log.check(complete, "with MLflow back everything is sent")
        log.check(calls.network == 0, "no call waits for the network", calls=calls.number, waited=calls.network)
        log.check(calls.held_s <= DELAY_S, "no step is held up by more than a second", seconds=round(calls.held_s, 3))
        check_once(service.server, EXPERIMENT, job, log)
        if driver.felt:
            log.fault(dealt.pop(), begins=driver.plan.begins, ends=driver.plan.ends, held_s=round(calls.held_s, 4))
    log.check(log.done.total() == part.count, "the tracker met as many outages as were asked for")


def _hasten(stack: ExitStack) -> None:
    """What takes minutes takes seconds; a message to the driver after every iteration, as its tracker never had it."""
    torch.set_num_threads(1)
    for owner, name, value in (
        (tracker, "FLUSH_S", 0.05),
        (tracker, "FIRST_PAUSE_S", 0.1),
        (tracker, "LONGEST_PAUSE_S", 0.3),
        (worker, "EVENT_S", 0.0),
        (lifeline, "end_with_parent", lambda: None),
    ):
        stack.enter_context(patch.object(owner, name, value))
    stack.enter_context(patch.dict(os.environ, MLFLOW_HTTP_REQUEST_TIMEOUT=str(TIMEOUT_S)))
