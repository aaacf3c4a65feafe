"""The run store: locks that die with their holder, finished runs whole or refused, histories to the last digit."""

import errno
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from pipeline.config.experiment import RunSpec
from pipeline.errors import EnvironmentFault, UserError
from pipeline.store import gradients, slots
from pipeline.store.history import COLUMNS, read_history, write_history
from pipeline.store.records import RunRecord, describe, read, write_json
from pipeline.store.slots import Busy, Slot, check_weights, open_store, publish
from resnet.history import Row
from tests.tiny_run import NETWORK, RECIPE

ROOT = Path(__file__).parents[2]
ROWS = [
    Row(3, 1.2, 0.1, 1 / 3, 200 / 3, None, None, 0.1 + 0.2, 1785000000.123456),
    Row(6, 2.4, 1e-17, math.nan, 100.0, math.inf, 0.0, 1e300, 1785000001.0),
    Row(11, 4.4, 5e-324, -math.inf, 1e-9, math.nan, 12.5, 7.0, 0.0),
]
SPEC = RunSpec(
    experiment="other", network="renamed", architecture_name="resnet-18", architecture=NETWORK, recipe=RECIPE, seed=5
)


def finished(folder: Path) -> Slot:
    """The place of a finished run, with small files."""
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    write_history(folder / "history.csv", ROWS)
    gradients.write(folder / "gradients.csv", ["conv1.conv"], [])
    record = RunRecord(
        run="row-seed5", key="a" * 64, experiment="tiny", network="row", architecture={}, depth=6, family="residual",
        shortcut="A", seed=5, status="finished", iterations=11, warm_up_ended_at=None, parameters=1, multiply_adds=1,
        train_top1_error_percent=1.0, val_top1_error_percent=2.0, seconds=1.0, images_per_second=1.0, peak_mib=1.0,
        device="x", threads=1, versions={}, commit=None, attempts=1, recipe={}, data_digest="b", code_digest="c",
        weights=describe(folder / "weights.safetensors", folder),
    )  # fmt: skip
    write_json(folder / "run.json", record)
    return Slot(folder)


def one_line(error: "pytest.ExceptionInfo[UserError]") -> str:
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


# The lock

HOLD = """
import sys
from pathlib import Path
from pipeline.store.slots import Busy, Slot
try:
    with Slot(Path(sys.argv[1])).lock():
        print("held", flush=True)
        sys.stdin.read()
except Busy:
    print("busy", flush=True)
"""


def hold(folder: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", HOLD, str(folder)]
    return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_at_a_time_and_the_next_when_it_is_killed(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "key")
    with slot.lock(), hold(slot.folder) as other:
        assert first_line(other) == "busy"
    with hold(slot.folder) as holder:
        assert first_line(holder) == "held"
        with pytest.raises(Busy), slot.lock():
            pass
        with pytest.raises(Busy):
            slot.clear()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with slot.lock():
        pass


# Finished runs


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"run": 1}', b"{" * 10_000])
def test_a_damaged_record_is_refused(content: bytes, tmp_path: Path) -> None:
    slot = finished(tmp_path / "key")
    (slot.folder / "run.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        slot.record()
    assert "run.json: damaged" in one_line(error)


@pytest.mark.parametrize("content", [b"Weights", b"weight", b"", None])
def test_damaged_weights_are_refused(content: bytes | None, tmp_path: Path) -> None:
    slot = finished(tmp_path / "key")
    weights = slot.record().weights
    assert check_weights(slot.folder, weights) == slot.folder / "weights.safetensors"
    (slot.folder / "weights.safetensors").write_bytes(content or b"")
    if content is None:
        (slot.folder / "weights.safetensors").unlink()
    with pytest.raises(UserError) as error:
        slot.record()
    assert "weights.safetensors: not what the run wrote; train it again with --fresh" in one_line(error)
    with pytest.raises(UserError):
        publish(slot, SPEC, tmp_path / "runs")


def test_run_json_makes_a_run_finished_and_clear_forgets_all(tmp_path: Path) -> None:
    slot = finished(tmp_path / "key")
    assert slot.finished
    assert slot.record().iterations == 11
    (slot.folder / "run.json").unlink()
    assert not slot.finished
    (slot.folder / "checkpoint-000000003").touch()
    slot.clear()
    assert [path.name for path in slot.folder.iterdir()] == ["lock"]


def test_a_run_that_was_cleared_halfway_is_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = finished(tmp_path / "key")
    unlink, removed = Path.unlink, list[str]()

    def stop_at_the_second(path: Path, missing_ok: bool = False) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        slot.clear()
    assert removed
    assert not slot.finished


def test_tidy_removes_what_was_half_written_and_nothing_else(tmp_path: Path) -> None:
    slot = finished(tmp_path / "key")
    kept = {path.name for path in slot.folder.iterdir()} | {"checkpoint-000000003", ".evaluation-0.json.1.tmp"}
    left = {f".{name}.1.tmp" for name in ("checkpoint-000000003", "run.json", *slots.PUBLISHED)}
    for name in kept | left:
        (slot.folder / name).touch()
    slot.tidy()
    assert {path.name for path in slot.folder.iterdir()} == kept


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("links", [True, False])
def test_published_under_own_names(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = finished(tmp_path / "key")
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EXDEV))
    target = tmp_path / "runs" / "other" / SPEC.name
    publish(slot, SPEC, target)
    for name in slots.PUBLISHED:
        assert (target / name).read_bytes() == (slot.folder / name).read_bytes()
        assert (target / name).samefile(slot.folder / name) == links
    record = read(RunRecord, target / "run.json", "")
    assert (record.run, record.experiment, record.network) == ("renamed-seed5", "other", "renamed")
    own = slot.record()
    assert own.run == "row-seed5"
    named = {"run", "experiment", "network"}
    assert record.model_dump(exclude=named) == own.model_dump(exclude=named)


# Histories


def test_a_history_comes_back_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_history(path, ROWS)
    again = read_history(path)
    assert list(map(repr, again)) == list(map(repr, ROWS))
    assert path.read_text().splitlines()[0] == ",".join(get_type_hints(Row)) == ",".join(COLUMNS)
    write_history(path, [])
    assert read_history(path) == []


DAMAGED: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda text: "",
    "no header": lambda text: text.partition("\n")[2],
    "a word": lambda text: text.replace("0.1", "many", 1),
    "a float for an iteration": lambda text: text.replace("\n3,", "\n3.5,"),
    "a cut row": lambda text: text.rpartition(",")[0].rpartition(",")[0],
    "a row too long": lambda text: text + "1,2" * 20 + "\n",
    "nothing where a number must be": lambda text: text.replace("\n3,1.2,", "\n3,,"),
    "bytes": lambda text: b"\xff\xfe\x00\x01",
    "a long field": lambda text: "x" * 200_000,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_history_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_history(path, ROWS)
    content = DAMAGED[kind](path.read_text())
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        read_history(path)
    assert "history.csv: damaged" in one_line(error)


def test_a_history_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_history(tmp_path / "history.csv")
    assert "No such file" in one_line(error)
    for name in ("history.csv", "gradients.csv"):
        (finished(tmp_path / name).folder / name).unlink()
        with pytest.raises(UserError, match=rf"{name}: not there; train it again with --fresh"):
            publish(Slot(tmp_path / name), SPEC, tmp_path / "runs" / name)


def test_the_store_is_made_unless_a_file_is_in_its_way(tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "a" / "b"))
    assert (list(folder.iterdir()), folder.stat().st_mode & 0o077) == ([], 0)
    (tmp_path / "file").touch()
    for storage, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "x", "Not a directory")):
        with pytest.raises(EnvironmentFault) as error:
            open_store(str(storage))
        assert one_line(error) == f"storage {storage}: {reason}; set `storage` to a folder you can write"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_store_that_cannot_be_written(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "touch", failing(number))
    with pytest.raises(EnvironmentFault) as error:
        open_store(str(tmp_path / "store"))
    assert os.strerror(number) in one_line(error)
