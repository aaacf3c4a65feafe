"""How a command ends: by signals, by mistakes, and with the `dvc` that started it. Real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.factories.processes import kill_tree
from tests.factories.workspace import ROOT

PATIENCE_S = 60.0

# A command that is busy until there is a file named `stop`.
STAGE = """
import sys, time
from pathlib import Path
from typing import Any
from pipeline.errors import ClusterLost, EnvironmentFault, RunsFailed, ThresholdMissed, UserError, run_command

def wait():
    try:
        print("ready", flush=True)
        end = time.monotonic() + 60
        while not Path("stop").exists() and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        time.sleep(0.3)
        print("cleaned up", flush=True)

def refused(): raise UserError("params.yaml: x must be 1, got 2")
def environment(): raise EnvironmentFault("storage: full")
def failed(): raise RunsFailed("1 of 2 runs failed")
def missed(): raise ThresholdMissed("too slow")
def lost(): raise ClusterLost("no head")
def bug(): raise ZeroDivisionError("a bug")
def nothing(): pass

run_command(globals()[sys.argv[1]])
"""

# As dvc does: a shell runs the command, and its exit code is noted.
DVC = """
import subprocess, sys
subprocess.run(["/bin/sh", "-c", '"$0" "$1" wait; echo $? > code; exit 0', sys.executable, "stage.py"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc").write_text(DVC)
    (tmp_path / "make").write_text(DVC)
    return tmp_path


@contextmanager
def begin(folder: Path, *words: str, stage: bool = False) -> Iterator["subprocess.Popen[str]"]:
    """The process while the block lasts, from when it says that it is ready where it is to wait."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"DVC_STAGE": "train@tiny"} if stage else {})
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=environment, text=True, start_new_session=True, **pipes
    )
    try:
        if words[-1] == "wait" or words[0] != "stage.py":
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        kill_tree(process.pid)
        process.communicate()


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, output and messages, when all processes that hold the output's pipe have ended."""
    output, messages = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output, messages


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_ends_a_command_after_its_clean_up(number: signal.Signals, code: int, word: str, folder: Path) -> None:
    with begin(folder, "stage.py", "wait") as process:
        process.send_signal(number)
        message = f"{word}: finished runs and checkpoints are kept; the same command resumes\n"
        assert end(process) == (code, "cleaned up\n", message)


def test_a_second_sigterm_does_not_interrupt_the_clean_up(folder: Path) -> None:
    with begin(folder, "stage.py", "wait") as process:
        for _ in range(4):  # the last of them come during the clean-up
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        code, output, messages = end(process)
        assert (code, output, len(messages.splitlines())) == (143, "cleaned up\n", 1)


@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("refused", 2, "error: params.yaml: x must be 1, got 2\n"),
        ("environment", 3, "error: storage: full\n"),
        ("failed", 4, "error: 1 of 2 runs failed\n"),
        ("missed", 5, "error: too slow\n"),
        ("lost", 6, "error: no head\n"),
        ("nothing", 0, ""),
    ],
)
def test_an_error_that_a_user_can_cause_is_one_line(what: str, code: int, text: str, folder: Path) -> None:
    with begin(folder, "stage.py", what) as process:
        assert end(process) == (code, "", text)


def test_a_bug_shows_where_it_is(folder: Path) -> None:
    with begin(folder, "stage.py", "bug") as process:
        code, _, messages = end(process)
    assert code == 1
    assert messages.startswith("Traceback")
    assert messages.endswith("ZeroDivisionError: a bug\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_ends_with_its_dvc(number: signal.Signals, folder: Path) -> None:
    with begin(folder, str(folder / "dvc"), stage=True) as dvc:
        dvc.send_signal(number)
        code, output, messages = end(dvc)
    assert (code, output) == (-number, "cleaned up\n")
    assert messages.startswith("terminated: ")
    assert len(messages.splitlines()) == 1
    assert (folder / "code").read_text() == "143\n"


@pytest.mark.parametrize(("name", "stage"), [("dvc", False), ("make", True)])
def test_without_dvc_a_command_outlives_its_parent(name: str, stage: bool, folder: Path) -> None:
    """Neither a shell that is closed nor a variable that was left set ends it."""
    with begin(folder, str(folder / name), stage=stage) as parent:
        parent.kill()
        parent.wait()
        time.sleep(1.5)  # more than the command would need to notice, as the test above shows
        assert not (folder / "code").exists()
        (folder / "stop").touch()
        _, output, messages = end(parent)
    assert (output, messages) == ("cleaned up\n", "")
    assert (folder / "code").read_text() == "0\n"
