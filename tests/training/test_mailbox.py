"""Events on their way from rank 0 to the driver, through an actor that may not answer."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import ray
from ray.exceptions import ActorUnavailableError

from pipeline.cluster.beats import Beats
from pipeline.training.job import Advanced, Ended, Event
from pipeline.training.mailbox import Receiver, Sender

FIRST = Advanced("k", 1, 1.0, [])
LAST = Ended("k", None)  # type: ignore[arg-type]


@dataclass
class Actor:
    """As Ray hands calls on: answers come when it is awake, and not at all from one that is being started anew."""

    beats: Beats
    awake: bool = True
    gone: int = 0  # calls that meet nobody
    waiting: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return Method(self, name)


@dataclass
class Method:
    actor: Actor
    name: str

    def remote(self, *words: Any) -> "Answer":
        if self.actor.gone:
            self.actor.gone -= 1
            return Answer(self.actor, None, ActorUnavailableError("is started anew", None))
        return Answer(self.actor, lambda: getattr(self.actor.beats, self.name)(*words))


@dataclass
class Answer:
    actor: Actor
    call: Any
    error: Exception | None = None
    value: Any = None

    def come(self) -> bool:
        if self.actor.awake and self.call is not None:
            self.value, self.call = self.call(), None
        return self.call is None


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Actor:
    def get(answer: Answer) -> Any:
        if answer.error is not None:
            raise answer.error
        return answer.value

    def wait(answers: list[Answer], timeout: float) -> tuple[list[Answer], list[Answer]]:
        come = [answer for answer in answers if answer.come()]
        return come, [answer for answer in answers if answer not in come]

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(Beats, "_look_at_nodes", lambda _: None)
    return Actor(Beats())


def send(actor: Actor, *events: Event, box: str = "a") -> None:
    sender = Sender(actor, box)
    for event in events:
        sender.send(event)
        sender.wait()


def test_what_is_sent_is_collected_once_in_order(actor: Actor) -> None:
    box = Receiver(actor, "a")
    assert box.collect(0) == []
    send(actor, FIRST, LAST)
    send(actor, FIRST, box="of another attempt")
    assert box.collect(0) == [FIRST, LAST]
    assert box.collect(0) == []


def test_an_actor_that_does_not_answer_holds_nobody_up_and_loses_nothing(actor: Actor) -> None:
    box = Receiver(actor, "a")
    send(actor, FIRST)
    actor.awake = False
    assert [box.collect(0), box.collect(0)] == [[], []]
    actor.awake = True
    assert box.collect(0) == [FIRST]
    send(actor, LAST)
    assert box.collect(0) == [LAST]


def test_an_actor_that_is_started_anew_is_asked_again(actor: Actor) -> None:
    box = Receiver(actor, "a")
    actor.gone = 2
    send(actor, FIRST)  # meets nobody
    assert box.collect(0) == []
    send(actor, LAST)
    assert box.collect(0) == [LAST]
