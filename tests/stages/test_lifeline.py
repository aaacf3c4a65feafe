"""How a stage ends: by signals, by mistakes, and with the `dvc` that started it. Real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0

# A stage that is busy until a file named `stop` is there.
STAGE = """
import sys, time
from pathlib import Path
from pipeline.errors import EnvironmentFault, RunsFailed, UserError, run_stage

def wait():
    try:
        print("ready", flush=True)
        end = time.monotonic() + 60
        while not Path("stop").exists() and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        time.sleep(0.5)
        print("left in order", flush=True)

def refused(): raise UserError("params.yaml: x must be 1, got 2")
def environment(): raise EnvironmentFault("storage: full")
def failed(): raise RunsFailed("1 of 2 runs failed")
def bug(): raise ZeroDivisionError("a bug")
def nothing(): pass

run_stage(globals()[sys.argv[1]])
"""

# What stands between: dvc runs a shell, which runs the stage and notes how it ended.
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


def begin(folder: Path, *words: str, stage: bool = False) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment["PYTHONPATH"] = str(ROOT)
    if stage:
        environment["DVC_STAGE"] = "train@tiny"
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, output and messages; returns when all that hold the output's pipe, children too, have ended."""
    output, messages = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output, messages


# Signals


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_ends_the_stage_in_order(number: signal.Signals, code: int, word: str, folder: Path) -> None:
    process = begin(folder, "stage.py", "wait")
    until_ready(process)
    process.send_signal(number)
    ended, output, messages = end(process)
    assert ended == code
    assert output == "left in order\n"
    assert messages == f"{word}: finished runs and checkpoints are kept; the same command goes on\n"


def test_a_second_sigterm_does_not_cut_the_way_out_short(folder: Path) -> None:
    process = begin(folder, "stage.py", "wait")
    until_ready(process)
    for _ in range(4):  # the last of them come while the stage leaves
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    code, output, messages = end(process)
    assert (code, output) == (143, "left in order\n")
    assert len(messages.splitlines()) == 1


# Mistakes


@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("refused", 2, "error: params.yaml: x must be 1, got 2\n"),
        ("environment", 3, "error: storage: full\n"),
        ("failed", 4, "error: 1 of 2 runs failed\n"),
        ("nothing", 0, ""),
    ],
)
def test_what_a_user_can_cause_is_one_line(what: str, code: int, text: str, folder: Path) -> None:
    assert end(begin(folder, "stage.py", what)) == (code, "", text)


def test_a_bug_shows_where_it_is(folder: Path) -> None:
    code, _, messages = end(begin(folder, "stage.py", "bug"))
    assert code == 1
    assert messages.startswith("Traceback")
    assert messages.endswith("ZeroDivisionError: a bug\n")


# The life of dvc


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_stage_ends_with_its_dvc(number: signal.Signals, folder: Path) -> None:
    dvc = begin(folder, str(folder / "dvc"), stage=True)
    until_ready(dvc)
    dvc.send_signal(number)
    code, output, messages = end(dvc)
    assert code == -number
    assert output == "left in order\n"
    assert messages.startswith("terminated: ")
    assert len(messages.splitlines()) == 1
    assert (folder / "code").read_text() == "143\n"
    assert not (folder / "stop").exists()


@pytest.mark.parametrize(("name", "stage"), [("dvc", False), ("make", True)])
def test_without_dvc_the_stage_stays(name: str, stage: bool, folder: Path) -> None:
    """Neither a shell that is closed nor a variable that was left behind ends it."""
    parent = begin(folder, str(folder / name), stage=stage)
    until_ready(parent)
    parent.kill()
    parent.wait()
    time.sleep(1.0)  # more than the stage needs to end, as the test above shows
    assert not (folder / "code").exists()
    (folder / "stop").touch()
    _, output, messages = end(parent)
    assert (output, messages) == ("left in order\n", "")
    assert (folder / "code").read_text() == "0\n"


WORKER = """
import subprocess, sys, time
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "worker"])
else:
    from pipeline import lifeline
    lifeline.end_with_parent()
    lifeline.end_with_parent()
    print("ready", flush=True)
    time.sleep(60)
    print("trained for nobody", flush=True)
"""


def test_a_worker_ends_with_its_parent(folder: Path) -> None:
    (folder / "worker.py").write_text(WORKER)
    node = begin(folder, str(folder / "worker.py"))
    until_ready(node)
    node.kill()
    assert end(node)[1] == ""
