"""A run's folder in the run store: finished runs are whole or refused, in a folder and in buckets."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.records import RunRecord, read, replacing
from pipeline.run_store import lease
from pipeline.run_store.run_folder import PUBLISHED, RunFolder
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


def test_damaged_files_are_noticed_before_they_are_published(new: New, data: Path, tmp_path: Path) -> None:
    run = train_here(new(), setting(data))
    for name in PUBLISHED:
        content = (run.path / name).read_bytes()
        for i, damaged in enumerate((content[:-1], content[:-1] + bytes([content[-1] ^ 1]))):
            write_bytes(run.path / name, damaged)
            with pytest.raises(UserError, match=rf"{name}: not what the run wrote; make it again with: rm -r "):
                run.publish(SPEC, tmp_path / f"{name}{i}")
        write_bytes(run.path / name, content)


def test_a_run_of_another_key_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "key")
    other = RunFolder(run.path.rename(tmp_path / "other"))
    with pytest.raises(UserError, match=r"run.json: of other parameters, data or code \(key key, not other\); make it"):
        other.record()


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
    with pytest.raises(UserError, match=rf"{name}: not what the run wrote; make it again with: "):
        run.publish(RENAMED, tmp_path / "runs")


def test_a_run_is_published_under_the_names_of_the_experiment(tmp_path: Path) -> None:
    run, target = finished_run(tmp_path / "key"), tmp_path / "runs" / RENAMED.name
    run.publish(RENAMED, target)
    for name in PUBLISHED:
        assert (target / name).read_bytes() == (run.path / name).read_bytes()
        assert not (target / name).samefile(run.path / name)  # an edit of the one leaves the other as it is
    record, own = read(RunRecord, target / "run.json", ""), run.record()
    assert (record.run, record.experiment, record.network) == ("renamed-seed5", "other", "renamed")
    named = {"run", "experiment", "network", "digest"}
    assert record.model_dump(exclude=named) == own.model_dump(exclude=named)


def test_published_files_are_read_only_and_are_replaced(tmp_path: Path) -> None:
    run, target = finished_run(tmp_path / "key"), tmp_path / "runs" / "other"
    for _ in range(2):
        with replacing(target, read_only=True) as folder:
            run.publish(RENAMED, folder / RENAMED.name)
        files = {path.name: path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()}
        assert files == dict.fromkeys(FINISHED, 0o444)
    assert [path.name for path in target.parent.iterdir()] == ["other"]
    assert run.record().key == "key"


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
