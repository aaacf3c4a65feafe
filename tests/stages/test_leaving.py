"""A run that is asked to leave its worker, without a cluster: its checkpoint, its events, the same bits in the end."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cluster.pulse import Leave
from pipeline.config.sections import Digits
from pipeline.datasets import arrays, digits
from pipeline.store.records import Manifest
from pipeline.store.slots import Slot
from pipeline.training.job import Advanced, Began, Ended, Event, Job, Left
from pipeline.training.worker import execute
from tests.tiny_run import untimed
from tests.training.test_worker import job, rows_of

pytestmark = pytest.mark.usefixtures("as_worker")
WHY = "node 10.0.0.2, which is being drained"


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Manifest]:
    section = Digits(dataset="digits", validation=60, test=60)
    return tmp_path, arrays.write(tmp_path, digits.read(section.validation, section.test, "tiny.data"))


@pytest.fixture
def undisturbed(data: tuple[Path, Manifest], tmp_path: Path) -> tuple[Job, list[Event]]:
    """A run of twelve iterations, with a checkpoint in 1000 s."""
    whole = job(tmp_path / "store" / "whole", data)
    return whole, list(execute(whole))


def test_it_leaves_after_the_iteration_under_way_and_goes_on_to_the_same_bits(
    undisturbed: tuple[Job, list[Event]],
) -> None:
    whole, events = undisturbed
    mine, came = replace(whole, slot=Slot(whole.slot.folder.parent / "key")), list[Event]()
    for asked in (0, 5, 6):  # before it begins, in the middle, and again at once
        leave = Leave()
        for event in execute(mine, leave=leave):
            came.append(event)
            if isinstance(event, Began | Advanced) and event.iteration >= asked:
                leave.ask(WHY)
        assert came[-1] == Left(mine.key, asked + 1, WHY)
        assert (mine.slot.folder / f"checkpoint-{asked + 1:09d}").is_file()
        assert not mine.slot.finished
        with mine.slot.lock():  # free for the next one
            pass
    came += execute(mine)
    assert mine.slot.record().weights == whole.slot.record().weights
    assert mine.slot.record().attempts == 4
    began = [event for event in came if isinstance(event, Began)]
    assert [event.iteration for event in began] == [0, 1, 6, 7]
    sent = [row for event in came if isinstance(event, Advanced) for row in event.rows]
    assert untimed(sent) == untimed(rows_of(events))  # each once, over all attempts


@pytest.mark.parametrize("asked", [11, 12])
def test_asked_near_its_end_it_ends(asked: int, undisturbed: tuple[Job, list[Event]]) -> None:
    mine, leave = replace(undisturbed[0], slot=Slot(undisturbed[0].slot.folder.parent / "key")), Leave()
    came = []
    for event in execute(mine, leave=leave):
        came.append(event)
        if isinstance(event, Advanced) and event.iteration == asked:
            leave.ask(WHY)
    assert isinstance(came[-1], Ended)
    assert not leave.heeded
