"""What becomes of a data-parallel run whose workers fail: a machine's failure is tried again, the code's own is not."""

from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2.api.exceptions import ControllerError

from pipeline.cluster.fanout import Lost, Moved
from pipeline.errors import UserError
from pipeline.training import data_parallel
from pipeline.training.gloo import interface_of
from pipeline.training.job import Advanced, Elsewhere, Ended
from resnet.errors import WorkerLost
from tests.played_attempts import ADVANCED, BEGAN, DEAD, ENDED, LEFT, Watch, own, play, together


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


def test_a_node_that_is_given_up_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though Ray Train still waits for its worker."""
    played = play(monkeypatch, [BEGAN, None, None], [BEGAN, ENDED], watch=Watch(lost_nodes=1))
    assert played.events == [BEGAN, Lost("run", "NodeGone: its node is given up", 1), BEGAN, ENDED]
    assert played.ended_early == 1


def test_workers_that_never_begin_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_parallel, "START_S", -1.0)
    played = play(monkeypatch, *[[None, None]] * 3, watch=Watch(begun=False))
    assert [event.left for event in played.events] == [1, 0]
    assert played.failed["run"].startswith("lost 3 times, last by Hung: its 4 workers have not begun within ")
    assert played.ended_early == 3


def test_workers_meet_on_the_network_of_rays_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.7") is None  # of documentation: nobody's
