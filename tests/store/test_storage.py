"""The run store in a folder and in buckets of two kinds: the same files, one worker a run, nothing half-written."""

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.storage import attempts, locks, paths
from pipeline.storage.attempts import Superseded
from pipeline.store import checkpoints, slots
from pipeline.store.history import read_history
from pipeline.store.records import RunRecord, read
from pipeline.store.slots import Busy, Slot, publish
from pipeline.training.job import Elsewhere, Ended, Event
from pipeline.training.worker import execute
from resnet.training import Training, train
from tests.stores import KINDS, SPEC, New, as_a_worker, job, names, stores
from tests.tiny_run import begin, equal, going, weights

ROOT = Path(__file__).parents[2]
FINISHED = {"history.csv", "gradients.csv", "weights.safetensors", "run.json"}


@pytest.fixture(scope="module", params=KINDS)
def new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[New]:
    with stores(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def slot(new: New) -> Slot:
    slot = Slot(new() / ("a" * 64))
    paths.make_folder(slot.folder)
    return slot


# Files


def test_a_file_is_whole_and_created_once(slot: Slot) -> None:
    path = slot.folder / "a.bin"
    for content in (b"", b"first", b"second" * 100_000):
        paths.write_bytes(path, content)
        assert path.read_bytes() == content
    assert not paths.create(path, b"other")
    assert path.read_bytes() == b"second" * 100_000
    assert paths.create(slot.folder / "b.bin", b"new")
    assert names(slot.folder) == {"a.bin", "b.bin"}


def test_a_trained_run_is_published_and_cleared(new: New, data: Path, tmp_path: Path) -> None:
    mine = job(new(), data)
    with as_a_worker():
        events = list(execute(mine))
        assert [type(event) for event in events[-1:]] == [Ended]
        assert list(execute(mine)) == events[-1:]  # it is not trained twice
    assert names(mine.slot.folder) == FINISHED
    publish(mine.slot, SPEC, tmp_path / "runs" / "row-seed7")
    record = read(RunRecord, tmp_path / "runs" / "row-seed7" / "run.json", "")
    content = (tmp_path / "runs" / "row-seed7" / "weights.safetensors").read_bytes()
    assert (record.weights.sha256, record.attempts) == (hashlib.sha256(content).hexdigest(), 1)
    rows = read_history(mine.slot.at_hand() / "history.csv")
    assert rows == read_history(tmp_path / "runs" / "row-seed7" / "history.csv")
    assert len(rows) == 6
    slots.keep(mine.slot.folder / "evaluation-0.json", record)
    assert read(RunRecord, mine.slot.folder / "evaluation-0.json", "") == record
    mine.slot.clear()
    assert names(mine.slot.folder) == set()
    assert not mine.slot.finished


def test_damage_is_noticed_before_it_is_published(new: New, data: Path, tmp_path: Path) -> None:
    mine = job(new(), data, checkpoint_s=1e9)
    with as_a_worker():
        list(execute(mine))
    path = mine.slot.folder / "weights.safetensors"
    content = path.read_bytes()
    for i, damaged in enumerate((content[:-1], content[:-1] + bytes([content[-1] ^ 1]))):
        paths.write_bytes(path, damaged)
        with pytest.raises(UserError, match=r"weights.safetensors: not what the run wrote; train it again"):
            publish(mine.slot, SPEC, tmp_path / str(i))


def test_a_damaged_checkpoint_is_passed_over(slot: Slot) -> None:
    run, states = begin(), {}
    for _ in going(run):
        states[run.iteration] = weights(run)
        checkpoints.write(slot.folder, "k", run)
    newest = max(path.name for path in slot.folder.glob("checkpoint-*"))
    assert names(slot.folder) == {"checkpoint-000000010", newest}
    paths.write_bytes(slot.folder / newest, (slot.folder / newest).read_bytes()[:-1])
    again = begin(seed=99)
    assert checkpoints.restore(slot.folder, "k", again)
    assert (again.iteration, equal(weights(again), states[10])) == (10, True)
    checkpoints.remove(slot.folder)
    assert names(slot.folder) == set()


# Locks

HOLD = """
import sys
from pipeline.storage.locks import Busy, held
from pipeline.storage.paths import locate
try:
    with held(locate(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except Busy:
    print("busy", flush=True)
"""


def test_one_process_at_a_time_and_the_next_when_it_is_killed(slot: Slot) -> None:
    words = [sys.executable, "-c", HOLD, str(slot.folder)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for _ in range(2):
            with pytest.raises(Busy), slot.lock():
                pass
        holder.kill()
        holder.wait()
    for _ in range(2):
        with slot.lock(), pytest.raises(Busy), slot.lock():
            pass
    slot.clear()
    assert names(slot.folder) == set()


def test_a_lease_of_another_machine_is_free_once_it_is_no_longer_renewed(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not paths.is_remote(slot.folder):
        pytest.skip("a folder has a lock that the kernel frees")
    paths.write_bytes(slot.folder / "lease-000041", b"1 1 another machine")
    monkeypatch.setattr(locks, "STALE_S", 1e9)
    with pytest.raises(Busy), slot.lock():
        pass
    monkeypatch.setattr(locks, "STALE_S", -1e9)  # whatever its age
    with slot.lock():
        assert {path.name for path in slot.folder.iterdir()} == {"lease-000042"}
    monkeypatch.setattr(locks, "STALE_S", 1e9)
    with slot.lock():  # let go of, so free at once; numbers only grow
        assert {path.name for path in slot.folder.iterdir()} == {"lease-000043"}


def test_a_lease_is_renewed_by_its_holder(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    if not paths.is_remote(slot.folder):
        pytest.skip("a folder has a lock that the kernel frees")
    monkeypatch.setattr(locks, "RENEW_S", 0.01)
    with slot.lock():
        path = slot.folder / "lease-000001"
        path.unlink()
        while not path.is_file():  # the holder writes it again, or this test does not end
            pass


# Fencing


def test_only_the_last_attempt_may_write(slot: Slot) -> None:
    first = attempts.begin(slot.folder)
    first.require()
    second = attempts.begin(slot.folder)
    second.require()
    with pytest.raises(Superseded, match=r"^attempt 1 at this run was overtaken .*; it writes nothing more$"):
        first.require()
    assert (first.number, second.number) == (1, 2)
    attempts.forget(slot.folder)
    assert attempts.begin(slot.folder).number == 1  # of a run that was begun anew
    for attempt in (first, second):
        with pytest.raises(Superseded):
            attempt.require()


@pytest.mark.parametrize("after", [5, 12])
def test_an_attempt_that_was_overtaken_writes_nothing(
    after: int, new: New, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one begins after this iteration: what was there then stays, and the run waits for the other."""
    mine, undisturbed = job(new(), data, checkpoint_s=1e-9 if after < 12 else 1e9), job(new(), data, checkpoint_s=1e9)
    before: dict[str, bytes] = {}

    def overtaken(run: Training, *arguments: object) -> Iterator[Training]:
        for _ in train(run, *arguments):  # type: ignore[arg-type]
            yield run
            if run.iteration == after:
                attempts.begin(mine.slot.folder)
                before.update(contents(mine.slot))

    with as_a_worker():
        list(execute(undisturbed))
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.training.worker.train", overtaken)
            events: list[Event] = list(execute(mine))
        assert events[-1] == Elsewhere(mine.key)
        assert {"attempt-000001", "attempt-000002"} <= set(before)
        assert contents(mine.slot) == before
        list(execute(mine))
    record = mine.slot.record()
    assert (record.attempts, record.weights) == (3, undisturbed.slot.record().weights)
    assert names(mine.slot.folder) == FINISHED


def contents(slot: Slot) -> dict[str, bytes]:
    return {name: (slot.folder / name).read_bytes() for name in names(slot.folder)}


def test_a_finished_run_is_never_replaced(new: New, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by the highest attempt: the other was slower to be seen, and has written its result."""
    mine = job(new(), data, checkpoint_s=1e9)
    other = dataclasses.replace(mine, slot=Slot(new() / mine.key))
    with as_a_worker():
        list(execute(other))
        content = (other.slot.folder / "run.json").read_bytes()

        def late(run: Training, *arguments: object) -> Iterator[Training]:
            yield from train(run, *arguments)  # type: ignore[arg-type]
            paths.write_bytes(mine.slot.folder / "run.json", content)

        with monkeypatch.context() as patch:
            patch.setattr("pipeline.training.worker.train", late)
            assert list(execute(mine))[-1] == Elsewhere(mine.key)
    assert (mine.slot.folder / "run.json").read_bytes() == content
