"""What becomes of a data-parallel run whose workers fail: a machine's failure is tried again, the code's own is not."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from pipeline import data_parallel
from pipeline.data_parallel import DataParallel
from pipeline.errors import EnvironmentFault, UserError
from pipeline.fanout import Lost, Moved, Task, Told
from pipeline.job import Advanced, Began, Elsewhere, Ended, Left
from pipeline.pulse import Nodes
from resnet.recipe import Recipe
from resnet.workers import WorkerLost
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

    def close(self) -> None: ...


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
    monkeypatch.setattr(data_parallel, "RayTrain", lambda: played)
    for name, seconds in (("AGAIN_S", 0.0), ("WAIT_S", 0.0), ("SETTLE_S", 0.0), ("GROW_AFTER_S", -1.0)):
        monkeypatch.setattr(data_parallel, name, seconds)
    stage = DataParallel(2, {}, wait_s)
    events = [event for _, event in stage.run([Task("run", Job(Spec(recipe)))])]  # type: ignore[arg-type]
    assert played.left == []
    return Played(events, stage.failed, played.sizes, watch.asked, played.ended_early)


def run(monkeypatch: pytest.MonkeyPatch, *attempts: list[Any]) -> tuple[list[Any], dict[str, str]]:
    played = play(monkeypatch, *attempts)
    return played.events, played.failed


@pytest.mark.parametrize(
    "failure",
    [
        together(DEAD),
        together(own(WorkerLost("Connection closed by peer")), DEAD),
        together(own(WorkerLost("Connection closed by peer"))),
        ActorDiedError(),
        TrainingFailedError("the controller is gone"),
    ],
)
def test_a_lost_worker_is_tried_again(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    events, failed = run(monkeypatch, [ADVANCED, failure], [ADVANCED, ENDED])
    assert failed == {}
    assert [type(event) for event in events] == [Advanced, Lost, Advanced, Ended]
    assert events[1].left == 1
    assert len(events[1].reason.splitlines()) == 1


def test_the_worker_that_died_is_named_and_not_the_one_that_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    events, _ = run(monkeypatch, [together(own(WorkerLost("closed")), DEAD)], [ENDED])
    assert events[0].reason.startswith("WorkerHealthCheckFailedError: ")


def test_losses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    events, failed = run(monkeypatch, *[[together(DEAD)]] * 3)
    assert [event.left for event in events] == [1, 0]
    assert failed["run"].startswith("lost 3 times, last by WorkerHealthCheckFailedError: ")


def test_a_mistake_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = together(own(WorkerLost("closed")), own(ZeroDivisionError("no such luck")))
    events, failed = run(monkeypatch, [ADVANCED, failure])
    assert events == [ADVANCED]
    assert failed == {"run": "ZeroDivisionError: no such luck"}


def test_what_a_user_can_mend_ends_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = together(own(WorkerLost("closed")), own(UserError("weights: damaged; make it again")))
    with pytest.raises(UserError, match="weights: damaged; make it again"):
        run(monkeypatch, [failure])


def test_what_is_elsewhere_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    events, failed = run(monkeypatch, [Elsewhere("k")], [Elsewhere("k")], [ENDED])
    assert ([type(event) for event in events], failed) == ([Elsewhere, Elsewhere, Ended], {})


def test_a_worker_that_dies_behind_the_end_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, [ENDED, together(DEAD)]) == ([ENDED], {})


def test_ray_trains_own_end_of_waiting_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    gave_up = ControllerError(WorkerGroupStartupTimeoutError(4))
    assert run(monkeypatch, *[[gave_up]] * 9, [ENDED]) == ([ENDED], {})


def test_a_node_that_is_drained_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(monkeypatch, *[[ADVANCED, together(DEAD)]] * 4, [ENDED], watch=Watch(node="10.0.0.3"))
    assert played.events == [ADVANCED, Moved("run", "10.0.0.3")] * 4 + [ENDED]
    assert play(monkeypatch, *[[BEGAN, LEFT, together(DEAD)]] * 4, [ENDED]).events == [BEGAN, LEFT] * 4 + [ENDED]


def test_workers_that_never_begin_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_parallel, "START_S", -1.0)
    played = play(monkeypatch, *[[None, None]] * 3, watch=Watch(begun=False))
    assert [event.left for event in played.events] == [1, 0]
    assert played.failed["run"].startswith("lost 3 times, last by Hung: its 4 workers have not begun within ")
    assert played.ended_early == 3


# With as many workers as there are places


def test_an_elastic_run_takes_the_places_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(monkeypatch, [BEGAN, nodes(2), together(DEAD)], [BEGAN, ENDED], recipe=ELASTIC, watch=Watch(nodes(9)))
    assert played.sizes == [4, 2]
    assert [type(event) for event in played.events] == [Began, Lost, Told, Began, Ended]
    assert played.events[2].text == "trains with 2 of 4 workers"
    assert played.asked == []
    for places, workers in ((3, 2), (1, 1), (0, 1)):
        assert play(monkeypatch, [ENDED], recipe=ELASTIC, watch=Watch(nodes(places))).sizes == [workers]
    assert play(monkeypatch, [ENDED], recipe=ELASTIC, watch=Watch(nodes(9, 3))).sizes == [2]  # others have the rest


def test_it_has_more_when_more_places_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [nodes(2, 0), BEGAN, nodes(4, 0), nodes(4, 1), nodes(3, 2), nodes(4, 2), nodes(4, 2), LEFT, nodes(4)]
    played = play(monkeypatch, [*first, together(DEAD)], [ENDED], recipe=ELASTIC, watch=Watch(nodes(2)))
    assert played.sizes == [2, 4]
    assert played.asked == ["2 worker(s) for 4, which find places now"]
    assert [type(event) for event in played.events] == [Told, Began, Left, Told, Ended]
    assert played.events[3].text == "trains with 4 of 4 workers"


def test_it_does_not_wait_for_places_that_are_gone_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(monkeypatch, [None, nodes(3), None], [ENDED], recipe=ELASTIC, watch=Watch(nodes(4), begun=False))
    assert (played.sizes, played.ended_early, played.failed) == ([4, 2], 1, {})
    assert [type(event) for event in played.events] == [Told, Ended]


def test_others_wait_for_their_number_of_workers_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Watch(nodes(3), begun=False)
    played = play(monkeypatch, [None, None, nodes(4), None, ENDED], watch=few)
    assert played.sizes == [4]
    assert [type(event) for event in played.events] == [Told, Told, Ended]
    assert "the cluster has shrunk" in played.events[0].text
    assert "there is room again" in played.events[1].text
    with pytest.raises(EnvironmentFault, match="asks for 4 workers of 1 CPUs"):
        play(monkeypatch, [None, None], watch=Watch(nodes(3), begun=False), wait_s=0.0)
