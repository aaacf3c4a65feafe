"""One run on one worker, without a cluster: events in order, rows once, the record true, no trace of interruptions."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline import lifeline
from pipeline.config.experiment import RunSpec
from pipeline.config.sections import Digits
from pipeline.datasets import arrays, digits
from pipeline.store import checkpoints
from pipeline.store.history import read_history
from pipeline.store.records import Manifest
from pipeline.store.slots import Slot
from pipeline.training import worker
from pipeline.training.device import device_name
from pipeline.training.job import Advanced, Began, Elsewhere, Ended, Event, Job
from pipeline.training.outcome import last_epoch_error
from pipeline.training.worker import execute
from resnet.architectures import Architecture
from resnet.history import Row
from resnet.network import build
from resnet.peak import peak_multiply_adds
from resnet.recipe import Recipe
from resnet.training import Training, start, train
from tests.tiny_run import untimed

pytestmark = pytest.mark.usefixtures("as_worker")
NETWORK = Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="A")
RECIPE = Recipe(
    batch_size=16, iterations=12, lr=0.02, lr_drops=(8,), momentum=0.9, weight_decay=0.0001, pad=1, flip=False,
    record_every=2, validate_every=4,
)  # fmt: skip
SPEC = RunSpec(
    experiment="tiny", network="row", architecture_name="resnet-18", architecture=NETWORK, recipe=RECIPE, seed=7
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("digits")
    section = Digits(dataset="digits", validation=60, test=60)
    return folder, arrays.write(folder, digits.read(section.validation, section.test, "tiny.data"))


def job(folder: Path, data: tuple[Path, Manifest], **changes: Any) -> Job:
    content: dict[str, Any] = {
        "spec": SPEC, "key": "a" * 64, "slot": Slot(folder), "data": data[0], "manifest": data[1], "code_digest": "c",
        "cpus": 1, "gpus": 0.0, "checkpoint_s": 1000.0, "commit": "abc",
    }  # fmt: skip
    return Job(**{**content, **changes})


@pytest.fixture(scope="module")
def undisturbed(data: tuple[Path, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, list[Event]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifeline, "end_with_parent", lambda: None)
        patch.setattr(worker, "EVENT_S", 0.0)
        whole = job(tmp_path_factory.mktemp("store") / "key", data)
        torch.set_num_threads(1)
        return whole, list(execute(whole))


def rows_of(events: list[Event]) -> list[Row]:
    return [row for event in events if isinstance(event, Began | Advanced) for row in event.rows]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# An undisturbed run


def test_events_come_in_order(undisturbed: tuple[Job, list[Event]]) -> None:
    whole, events = undisturbed
    first, *between, last = events
    peak = peak_multiply_adds(torch.device("cpu"), torch.float32)  # that of this process
    assert first == Began(whole.key, device_name(torch.device("cpu")), peak, 0, 0.0, [])
    assert isinstance(last, Ended)
    advanced = [event for event in between if isinstance(event, Advanced)]
    assert advanced == between
    assert [event.iteration for event in advanced] == [*range(1, 13), 12]
    assert all(a.seconds <= b.seconds for a, b in pairwise(advanced))
    assert {event.key for event in events} == {whole.key}


def test_each_row_is_sent_once(undisturbed: tuple[Job, list[Event]]) -> None:
    whole, events = undisturbed
    sent = rows_of(events)
    assert [row.iteration for row in sent] == [2, 4, 6, 8, 10, 12]
    assert sent == read_history(whole.slot.folder / "history.csv")
    assert [row.val_top1_error_percent is not None for row in sent] == [False, True, False, True, False, True]


def test_rows_are_sent_once_though_messages_are_rare(
    data: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "EVENT_S", 1e9)
    events = list(execute(job(tmp_path / "key", data)))
    assert [type(event) for event in events] == [Began, Advanced, Ended]
    assert [row.iteration for row in rows_of(events)] == [2, 4, 6, 8, 10, 12]


def test_what_stays_is_the_finished_run(undisturbed: tuple[Job, list[Event]]) -> None:
    whole, events = undisturbed
    assert files(whole.slot.folder) == {"lock", "history.csv", "gradients.csv", "weights.safetensors", "run.json"}
    assert events[-1] == Ended(whole.key, whole.slot.record())
    again = list(execute(whole))
    assert again == [events[-1]]  # it is not trained twice


def test_the_record_is_true(undisturbed: tuple[Job, list[Event]], data: tuple[Path, Manifest]) -> None:
    whole, events = undisturbed
    record, rows, manifest = whole.slot.record(), rows_of(events), data[1]
    assert (record.run, record.experiment, record.network) == ("row-seed7", "tiny", "row")
    assert (record.depth, record.family, record.shortcut, record.seed) == (6, "residual", "A", 7)
    assert (record.status, record.iterations, record.warm_up_ended_at, record.attempts) == ("finished", 12, None, 1)
    assert (record.commit, record.code_digest, record.data_digest) == ("abc", "c", manifest.digest())
    assert record.threads == 1
    assert record.recipe["lr_drops"] == (8,) or record.recipe["lr_drops"] == [8]
    assert record.val_top1_error_percent == rows[-1].val_top1_error_percent is not None
    assert record.seconds == rows[-1].seconds > 0
    assert record.images_per_second == pytest.approx(12 * 16 / record.seconds)
    assert record.peak_mib > 10
    assert record.peak_multiply_adds_per_second == peak_multiply_adds(torch.device("cpu"), torch.float32)
    assert record.versions["torch"] == torch.__version__
    # by hand: 3x3 stem; two convolutions of 4 channels on 8x8 pixels; two of 8 on 4x4, option A; the classifier
    convolutions = 9 * (1 * 4 + 2 * 4 * 4 + 4 * 8 + 8 * 8)
    normalisations = 2 * (3 * 4 + 2 * 8)
    assert record.parameters == convolutions + normalisations + 8 * 10 + 10
    assert record.multiply_adds == 9 * (64 * (4 + 32) + 16 * (32 + 64)) + 80
    assert whole.work == 3 * record.multiply_adds * 12 * 16
    assert record.train_top1_error_percent == pytest.approx(sum(r.train_top1_error_percent for r in rows) / 6)


def test_the_weights_fit_the_network(undisturbed: tuple[Job, list[Event]]) -> None:
    whole, _ = undisturbed
    state = load_file(whole.slot.folder / "weights.safetensors")
    network = build(NETWORK, 10, 1)
    network.load_state_dict(state)
    run = start(NETWORK, RECIPE, classes=10, channels=1, seed=7, device=torch.device("cpu"))
    assert not torch.equal(state["conv1.conv.weight"], run.network.state_dict()["conv1.conv.weight"])


@pytest.mark.parametrize(
    ("images", "batch_size"), [(40, 16), (16, 16), (100, 16), (64, 16), (65, 16), (80, 16), (10_000, 16)]
)
def test_the_last_epoch_is_the_rows_that_reach_into_it(images: int, batch_size: int) -> None:
    ends = [3, 6, 9, 11]
    rows = [Row(end, 0.0, 0.1, 1.0, 10.0 * i + end, None, None, 0.0, 0.0) for i, end in enumerate(ends)]
    slow, before = [], 0
    for row in rows:
        in_epoch = row.iteration * batch_size > 11 * batch_size - images
        slow += [row.train_top1_error_percent] * (row.iteration - before) * in_epoch
        before = row.iteration
    assert last_epoch_error(rows, images, batch_size) == pytest.approx(sum(slow) / len(slow))


# Disturbed runs


def test_a_key_that_is_locked_is_elsewhere(data: tuple[Path, Manifest], tmp_path: Path) -> None:
    mine = job(tmp_path / "key", data)
    with mine.slot.lock():
        assert list(execute(mine)) == [Elsewhere(mine.key)]
    assert files(mine.slot.folder) == {"lock"}


@pytest.mark.parametrize("ends", [[0], [5], [2, 3, 9], [11, 12]])
def test_interrupted_and_resumed_it_is_the_same_run(
    ends: list[int], undisturbed: tuple[Job, list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception after these iterations, in one attempt after another; checkpoints after each iteration."""
    monkeypatch.setattr(worker, "CHECKPOINT_SHARE", math.inf)
    whole, events = undisturbed
    mine = replace(whole, slot=Slot(tmp_path / "key"), checkpoint_s=1e-9)
    resumed_from = 0
    for end in ends:

        def broken(run: Training, *arguments: Any, stop: int = end) -> Iterator[Training]:
            yield from islice(train(run, *arguments), stop - run.iteration)
            raise RuntimeError("the machine stops")

        monkeypatch.setattr(worker, "train", broken)
        came: list[Event] = []
        with pytest.raises(RuntimeError):
            came.extend(execute(mine))
        assert not mine.slot.finished
        resumed_from = end
    monkeypatch.setattr(worker, "train", train)
    again = list(execute(mine))
    first = again[0]
    assert isinstance(first, Began)
    assert first.iteration == resumed_from
    assert [row.iteration for row in first.rows] == list(range(2, resumed_from + 1, 2))
    assert first.seconds >= (first.rows[-1].seconds if first.rows else 0.0)
    assert (first.seconds > 0) == (resumed_from > 0)
    assert untimed(rows_of(again)) == untimed(rows_of(events))
    assert untimed(read_history(mine.slot.folder / "history.csv")) == untimed(rows_of(events))
    norms = [folder / "gradients.csv" for folder in (mine.slot.folder, whole.slot.folder)]
    assert norms[0].read_bytes() == norms[1].read_bytes()
    record = mine.slot.record()
    assert record.weights == whole.slot.record().weights
    assert record.attempts == len(ends) + 1
    assert files(mine.slot.folder) == {"lock", "history.csv", "gradients.csv", "weights.safetensors", "run.json"}


def test_what_a_killed_attempt_left_half_written_goes(undisturbed: tuple[Job, list[Event]], tmp_path: Path) -> None:
    mine = replace(undisturbed[0], slot=Slot(tmp_path))
    for name in (".checkpoint-000000002.1.tmp", ".run.json.1.tmp", "checkpoint-000000002"):
        (tmp_path / name).write_bytes(b"half")
    list(execute(mine))
    assert files(tmp_path) == {"lock", "history.csv", "gradients.csv", "weights.safetensors", "run.json"}
    assert mine.slot.record().weights == undisturbed[0].slot.record().weights


def test_checkpoints_come_as_often_as_asked(
    undisturbed: tuple[Job, list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    monkeypatch.setattr(checkpoints, "write", lambda folder, key, run: written.append(run.iteration))
    list(execute(replace(undisturbed[0], slot=Slot(tmp_path / "never"))))
    assert written == []
    monkeypatch.setattr(worker, "CHECKPOINT_SHARE", math.inf)
    list(execute(replace(undisturbed[0], slot=Slot(tmp_path / "always"), checkpoint_s=1e-9)))
    assert written == list(range(1, 13))


def test_a_diverged_run_is_a_result(data: tuple[Path, Manifest], tmp_path: Path) -> None:
    recipe = replace(RECIPE, lr=100.0, iterations=40, lr_drops=(), momentum=0.99, weight_decay=1.0)
    mine = job(tmp_path / "key", data, spec=replace(SPEC, recipe=recipe))
    events = list(execute(mine))
    record = mine.slot.record()
    assert events[-1] == Ended(mine.key, record)
    assert record.status == "diverged"
    assert record.iterations < 40
    rows = read_history(mine.slot.folder / "history.csv")
    assert rows[-1].iteration == record.iterations
    assert not math.isfinite(rows[-1].train_loss)
    assert list(map(repr, rows)) == list(map(repr, rows_of(events)))
    assert record.val_top1_error_percent == rows[-1].val_top1_error_percent is not None
    assert not all(bool(t.isfinite().all()) for t in load_file(mine.slot.folder / "weights.safetensors").values())
