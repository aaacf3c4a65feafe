"""What becomes of a data-parallel run whose workers fail: a machine's failure is tried again, the code's own is not."""

from collections.abc import Iterator
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import WorkerGroupError

from pipeline import data_parallel
from pipeline.data_parallel import DataParallel
from pipeline.errors import UserError
from pipeline.fanout import Lost, Task
from pipeline.job import Advanced, Elsewhere, Ended
from resnet.workers import WorkerLost

DEAD = WorkerHealthCheckFailedError("a worker is gone", ActorDiedError())
ADVANCED = Advanced("k", 3, 1.0, [])
ENDED = Ended("k", None)  # type: ignore[arg-type]


def own(error: Exception) -> Exception:
    """As Ray Train hands on what the training function raised."""
    wrapped: Exception = UserExceptionWithTraceback(error, "where")
    return wrapped


def together(*failures: Exception) -> Exception:
    error: Exception = WorkerGroupError("workers failed", dict(enumerate(failures)))
    return error


class Attempts:
    """What the attempts come to, one after another: events, and an exception where they do not end well."""

    def __init__(self, *attempts: list[Any]) -> None:
        self.left = list(attempts)

    def __call__(self, _job: Any) -> Iterator[Any]:
        for what in self.left.pop(0):
            if isinstance(what, Exception):
                raise what
            yield what


def run(monkeypatch: pytest.MonkeyPatch, *attempts: list[Any], retries: int = 2) -> tuple[list[Any], dict[str, str]]:
    played = Attempts(*attempts)
    monkeypatch.setattr(data_parallel, "_attempt", played)
    monkeypatch.setattr(data_parallel, "AGAIN_S", 0.0)
    stage = DataParallel(retries, {})
    events = [event for _, event in stage.run([Task("run", "job")])]  # type: ignore[arg-type]
    assert played.left == []
    return events, stage.failed


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
