"""With how many workers the attempts at a data-parallel run are made, as places come and go."""

import pytest

from pipeline.cluster.fanout import Lost, Told
from pipeline.errors import EnvironmentFault
from pipeline.training.job import Began, Ended, Left
from tests.played_attempts import BEGAN, DEAD, ELASTIC, ENDED, LEFT, Watch, nodes, play, together


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
