"""A run's folder in the run store: finished runs are whole or refused, in a folder and in buckets."""

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.records import RunRecord, read
from pipeline.run_store import lease
from pipeline.run_store.run_folder import PUBLISHED
from pipeline.storage import write_bytes
from tests.factories.stores import KINDS, ROWS, SPEC, New, finished_run, names, setting, stores, train_here

RENAMED = replace(SPEC, experiment="other", network="renamed", seed=5)
FINISHED = {"history.csv", "gradients.csv", "weights.safetensors", "run.json"}


@pytest.fixture(scope="module", params=KINDS)
def new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[New]:
    with stores(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_a_trained_run_is_published_and_cleared(new: New, data: Path, tmp_path: Path) -> None:
    run = train_here(new(), setting(data))
    assert run.finished
    assert names(run.path) == FINISHED
    before = run.record()
    train_here(run.path.parent, setting(data))  # it is not trained twice
    assert run.record() == before
    run.publish(SPEC, tmp_path / "runs" / SPEC.name)
    assert read(RunRecord, tmp_path / "runs" / SPEC.name / "run.json", "") == before
    assert (before.attempts, before.iterations, len(run.rows())) == (1, 12, 6)
    run.clear()
    assert names(run.path) == set()
    assert not run.finished
    assert run.rows() == []


def test_damaged_weights_are_noticed_before_they_are_published(new: New, data: Path, tmp_path: Path) -> None:
    run = train_here(new(), setting(data))
    path = run.path / "weights.safetensors"
    content = path.read_bytes()
    for i, damaged in enumerate((content[:-1], content[:-1] + bytes([content[-1] ^ 1]))):
        write_bytes(path, damaged)
        with pytest.raises(
            UserError, match=r"weights.safetensors: not what the run wrote; train it again with --fresh"
        ):
            run.publish(SPEC, tmp_path / str(i))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"run": 1}', b"{" * 10_000])
def test_a_damaged_record_is_refused(content: bytes, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "key")
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run.json: damaged") as error:
        run.record()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "key")
    (run.path / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: not .*; train .* again with --fresh"):
        run.publish(RENAMED, tmp_path / "runs")


@pytest.mark.parametrize("links", [True, False])
def test_a_run_is_published_under_the_names_of_the_experiment(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    run, target = finished_run(tmp_path / "key"), tmp_path / "runs" / RENAMED.name
    if not links:
        monkeypatch.setattr("pipeline.storage.os.link", no_links)
    run.publish(RENAMED, target)
    for name in PUBLISHED:
        assert (target / name).read_bytes() == (run.path / name).read_bytes()
        assert (target / name).samefile(run.path / name) == links
    record, own = read(RunRecord, target / "run.json", ""), run.record()
    assert (record.run, record.experiment, record.network) == ("renamed-seed5", "other", "renamed")
    named = {"run", "experiment", "network"}
    assert record.model_dump(exclude=named) == own.model_dump(exclude=named)


def test_a_run_that_is_trained_is_not_cleared(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "key")
    with lease.acquire(run.path), pytest.raises(lease.Busy):
        run.clear()
    assert run.finished
    assert run.rows() == ROWS


def test_a_run_that_was_cleared_halfway_is_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, unlink, removed = finished_run(tmp_path / "key"), Path.unlink, list[str]()

    def interrupt_at_the_second(path: Path, missing_ok: bool = False) -> None:
        if path.parent == run.path and "lease-" not in path.name:
            if removed:
                raise KeyboardInterrupt
            removed.append(path.name)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupt_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run.clear()
    assert removed
    assert not run.finished
    assert lease.read(run.path) is None
