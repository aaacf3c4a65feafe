"""Merging run stores: every finished run and result once, nothing of a damaged one, nothing that a worker trains."""

from argparse import Namespace
from pathlib import Path

import pytest

from pipeline import merge
from pipeline.errors import UserError
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RunFolder
from tests.factories.params import params, write
from tests.factories.stores import contents, finished_run

KEY = "a" * 64  # of the factory's run


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run with a result in another store; the current folder is a checkout with an own one."""
    monkeypatch.chdir(tmp_path)
    write(Path("params.yaml"), params())
    run = finished_run(Path("other") / KEY)
    (run.path / "evaluation-1.json").write_text("{}")
    return run


def merged(*stores: str) -> None:
    merge.main(Namespace(store=list(stores)))


def test_runs_and_results_are_copied_once(other: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    merged("other")
    own = RunFolder(Path(".runs") / KEY)
    assert own.finished
    assert contents(own.path) == contents(other.path)
    assert "1 runs and 1 results copied to" in capsys.readouterr().out
    (other.path / "evaluation-2.json").write_text("{}")
    merged("other", "other")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].split(" copied")[0] for line in lines] == [
        "0 runs and 1 results",
        "0 runs and 0 results",
    ]


def test_a_run_without_a_record_is_not_copied(other: RunFolder) -> None:
    (other.path / "run.json").unlink()
    merged("other")
    assert not list(Path(".runs").glob("*/*"))


def test_a_damaged_run_is_refused_and_nothing_of_it_is_written(other: RunFolder) -> None:
    (other.path / "weights.safetensors").write_bytes(b"Weights")
    with pytest.raises(UserError, match="not what the run wrote"):
        merged("other")
    assert not list(Path(".runs").glob("*/*"))


def test_a_run_that_a_worker_trains_is_left_to_it(other: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with lease.acquire(Path(".runs").absolute() / KEY):
        merged("other")
    assert "trained in" in capsys.readouterr().out
    assert not RunFolder(Path(".runs") / KEY).finished


def test_a_store_that_does_not_exist_is_refused(other: RunFolder) -> None:
    with pytest.raises(UserError, match="nowhere: not found; name the run store of another checkout"):
        merged("nowhere")
    assert not Path(".runs").exists()
