"""What takes seconds to import is imported while something else is waited for, and not by who is refused."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline import ahead
from tests.workspace import make

SLOW = {"torch", "ray", "mlflow"}


def wait() -> None:
    for thread in threading.enumerate():
        if thread.name == "ahead":
            thread.join()


def test_a_module_is_there_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needed_soon.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    ahead.begin(["needed_soon"])
    wait()
    assert sys.modules.pop("needed_soon")


def test_what_fails_stops_nothing_and_fails_again_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_soon.py").write_text("raise RuntimeError('no')")
    (tmp_path / "needed_later.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    ahead.begin(["not_there_at_all", "broken_soon", "needed_later"])
    wait()
    assert sys.modules.pop("needed_later")
    assert capfd.readouterr().err == ""
    with pytest.raises(RuntimeError, match="no"):
        __import__("broken_soon")


@pytest.mark.parametrize("together", [False, True])
def test_what_training_needs_is_there_to_be_imported(together: bool) -> None:
    names = ahead.of_training(together=together)
    code = "; ".join(f"import {name}" for name in names)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert ("pipeline.training.small_trainer" in names) == together


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        (["pipeline.train", "nosuch"], {}, "nosuch"),
        (["pipeline.train", "tiny"], {"tiny.train.lr": -1}, "lr"),
        (["pipeline.train", "tiny", "--only", "nosuch"], {}, "nosuch"),
        (["pipeline.train", "tiny"], {}, "manifest.json"),
        (["pipeline.evaluate", "nosuch"], {}, "nosuch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_who_is_refused_waits_for_none_of_it(
    words: list[str], changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    """Neither the word of it nor an import is slow."""
    workspace = make(tmp_path / "w", changes, prepared=False)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *words],
        cwd=workspace.folder,
        env=workspace.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    *_, last = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 2, done.stderr
    assert last.startswith("error: ")
    assert said in last
    assert "pipeline.config" in imported
    assert not imported & SLOW
