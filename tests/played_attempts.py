"""Attempts at a data-parallel run that only play what they are given: what the driver makes of them."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import WorkerGroupError

from pipeline.cluster.beats import Nodes
from pipeline.cluster.fanout import Task
from pipeline.cluster.watch import NodeGone
from pipeline.training import data_parallel
from pipeline.training.data_parallel import DataParallel
from pipeline.training.job import Advanced, Began, Ended, Left
from resnet.recipe import Recipe
from tests.tiny_run import RECIPE

DEAD = WorkerHealthCheckFailedError("a worker is gone", ActorDiedError())
ADVANCED = Advanced("k", 3, 1.0, [])
ENDED = Ended("k", None)  # type: ignore[arg-type]
BEGAN = Began("k", "a processor", 1.0, 0, 0.0, [])
LEFT = Left("k", 3, "its workers")
FIXED = replace(RECIPE, workers=4)
ELASTIC = replace(FIXED, min_workers=1)  # 4, 2 or 1


def own(error: Exception) -> Exception:
    """As Ray Train hands on what the training function raised."""
    wrapped: Exception = UserExceptionWithTraceback(error, "where")
    return wrapped


def together(*failures: Exception) -> Exception:
    error: Exception = WorkerGroupError("workers failed", dict(enumerate(failures)))
    return error


def nodes(places: int, free: int | None = None) -> Nodes:
    """Of one CPU each."""
    free = places if free is None else free
    return Nodes(((1.0, 0.0),) * places, ((1.0, 0.0),) * free + ((0.0, 0.0),) * (places - free), {})


@dataclass(frozen=True)
class Spec:
    recipe: Recipe


@dataclass(frozen=True)
class Job:
    """What an attempt is made by, as far as it is looked at."""

    spec: Spec
    cpus: int = 1
    gpus: float = 0.0


@dataclass
class Watch:
    """What the driver hears of the workers and the nodes; it has what it is given."""

    nodes: Nodes | None = field(default_factory=lambda: nodes(4))
    begun: bool = True  # all workers, of each attempt
    node: str | None = None  # that is drained under the run
    lost_nodes: int = 0  # attempts under which a node is given up
    beats: None = None
    asked: list[str] = field(default_factory=list)

    def begin(self, name: str) -> None: ...

    def look(self) -> None: ...

    def heard(self, name: str) -> None: ...

    def end(self, name: str) -> None: ...

    def waiting(self) -> list[str]:
        return [] if self.begun else ["run"]

    def drained(self, name: str) -> str | None:
        return self.node

    def gone(self, name: str) -> NodeGone | None:
        if self.lost_nodes == 0:
            return None
        self.lost_nodes -= 1
        return NodeGone("its node is given up")

    def lost(self, name: str, error: Exception) -> Exception:
        return error

    def ask(self, name: str, why: str) -> None:
        self.asked.append(why)


class Attempts:
    """What the attempts come to, one after another: events, an exception where they do not end well, other nodes."""

    def __init__(self, watch: Watch, *attempts: list[Any]) -> None:
        self.watch, self.left, self.sizes, self.ended_early = watch, list(attempts), [], 0  # type: ignore[var-annotated]

    def attempt(self, _job: Any, workers: int, _beats: Any) -> Iterator[Any]:
        self.sizes.append(workers)
        try:
            for what in self.left.pop(0):
                if isinstance(what, Exception):
                    raise what
                if isinstance(what, Nodes):
                    self.watch.nodes = what
                yield None if isinstance(what, Nodes) else what
        except GeneratorExit:
            self.ended_early += 1


@dataclass
class Played:
    events: list[Any]
    failed: dict[str, str]
    sizes: list[int]  # workers of the attempts
    asked: list[str]  # to leave
    ended_early: int


def play(
    monkeypatch: pytest.MonkeyPatch,
    *attempts: list[Any],
    recipe: Recipe = FIXED,
    watch: Watch | None = None,
    wait_s: float = 600.0,
) -> Played:
    watch = watch or Watch()
    played = Attempts(watch, *attempts)
    monkeypatch.setattr(data_parallel, "watching", lambda: nullcontext(watch))
    monkeypatch.setattr(data_parallel, "attempt", played.attempt)
    for name, seconds in (("AGAIN_S", 0.0), ("WAIT_S", 0.0), ("SETTLE_S", 0.0), ("GROW_AFTER_S", -1.0)):
        monkeypatch.setattr(data_parallel, name, seconds)
    stage = DataParallel(2, {}, wait_s)
    events = [event for _, event in stage.run([Task("run", Job(Spec(recipe)))])]  # type: ignore[arg-type]
    assert played.left == []
    return Played(events, stage.failed, played.sizes, watch.asked, played.ended_early)
