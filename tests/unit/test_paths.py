"""Where relative places are: in the working folder, and for a queued experiment of DVC in the checkout it copies."""

from pathlib import Path

import pytest

from pipeline.storage import locate
from pipeline.tracking.client import address


@pytest.fixture(autouse=True)
def _default_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path | None]:
    """The run store and MLflow's database of a command in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    return locate(".runs"), address().database


@pytest.mark.parametrize("copy", ["tmpabc", "standalone/tmpabc", "tmpabc/project"])
def test_a_queued_experiment_keeps_its_runs_in_the_checkout(
    copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    in_checkout = tmp_path / ".runs", tmp_path / "mlflow.db"
    assert places(tmp_path / ".dvc/tmp/exps" / copy, monkeypatch) == in_checkout
    assert places(tmp_path, monkeypatch) == in_checkout
    assert locate("/shared/runs") == Path("/shared/runs")


@pytest.mark.parametrize("folder", ["sub", ".dvc/tmp/exps"])
def test_any_other_folder_keeps_its_own(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another checkout, which a stage of a project of DVC calls; no DVC."""
    own = tmp_path / folder / ".runs", tmp_path / folder / "mlflow.db"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert places(tmp_path / folder, monkeypatch) == own
    monkeypatch.delenv("DVC_ROOT")
    assert places(tmp_path / folder, monkeypatch) == own
