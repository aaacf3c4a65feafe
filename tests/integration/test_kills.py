"""Workers, drivers and DVC that are killed at any moment: nothing trains on, and the results are bit-identical."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.factories.processes import (
    TWO_RUNS,
    Attempt,
    assert_no_process_trained_on,
    assert_same,
    attempts,
    results,
    trained_here,
    training,
    under_way,
)
from tests.factories.workspace import TRAIN, Workspace, make

ONE_RUN = TWO_RUNS | {"tiny.networks": {"resnet-18": None}, "tiny.train.iterations": 1500}
LOOKS = 4  # at an attempt, at most, before it is killed; some 0.1 s are between two
DEAF = 100  # looks after which an attempt that survived its signal is sent another


def test_a_run_whose_worker_and_driver_are_killed_resumes_bit_identical(tmp_path: Path) -> None:
    """First the worker, after a checkpoint; then the driver alone, whose worker must end with it."""
    workspace = make(tmp_path / "w", ONE_RUN)
    with training(workspace) as watched:
        under_way(workspace, watched).signal(signal.SIGKILL)
        line = watched.wait_for_line("lost its worker")
        assert line.endswith("continues on another one, 19 retries left\n")
        second = under_way(workspace, watched, 2)
        watched.wait_until(lambda: second.checkpoint > "checkpoint-000000000")
        os.kill(watched.process.pid, signal.SIGKILL)
        assert watched.end() == -signal.SIGKILL
        assert_no_process_trained_on(workspace)
    output = workspace.run(*TRAIN)
    assert "tiny: 1 runs, 0 in the run store, 1 to train" in output
    assert results(workspace) == trained_here(workspace, tmp_path / "here") != {}


@pytest.mark.slow
def test_nine_kills_of_workers(undisturbed: Workspace, tmp_path: Path) -> None:
    """By SIGKILL and SIGTERM in turn, two of three after a checkpoint of the attempt, the others at once.

    Each attempt gets a SIGINT before, as by a Ctrl-C in a terminal, which only ends the driver.
    """
    workspace, draw = undisturbed.untrained(tmp_path / "w"), random.Random("workers")
    left: dict[tuple[Path, int], int] = {}  # looks before it is killed
    began: dict[tuple[Path, int], str] = {}  # the checkpoint before it
    kills = 0
    with training(workspace) as watched:
        while kills < 9:
            assert watched.process.poll() is None, watched.text
            time.sleep(0.1)
            for attempt in attempts(workspace):
                key = attempt.folder, attempt.number
                if key not in left:
                    left[key] = draw.randint(1, LOOKS)
                    began[key] = attempt.checkpoint if draw.random() < 2 / 3 else "any"
                left[key] -= attempt.checkpoint != began[key]
                kills += strike(attempt, left[key], kills)
        assert watched.end() == 0, watched.text
    deaths = watched.text.count("lost its worker") + watched.text.count("died before it began")
    assert deaths >= 9, watched.text
    assert_same(workspace, undisturbed)


def strike(attempt: Attempt, looks_left: int, kills: int) -> bool:
    """Kills the attempt when its looks are used up; whether that is a new kill."""
    if looks_left in (0, -DEAF):
        attempt.signal(signal.SIGTERM if kills % 2 else signal.SIGKILL)
    elif looks_left > 0:
        attempt.signal(signal.SIGINT)
    return looks_left == 0


@pytest.mark.slow
def test_a_driver_that_is_killed_and_then_two_at_once(undisturbed: Workspace, tmp_path: Path) -> None:
    """By each signal in turn; then the same command twice at the same moment: both end well."""
    workspace, draw = undisturbed.untrained(tmp_path / "w"), random.Random("driver")
    for number, code in {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}.items():
        with training(workspace) as watched:
            under_way(workspace, watched)
            time.sleep(draw.uniform(0.0, 0.5))
            os.kill(watched.process.pid, number)
            assert watched.end() == code, watched.text
            assert_no_process_trained_on(workspace)
    with training(workspace) as first, training(workspace) as second:
        assert [first.end(), second.end()] == [0, 0], first.text + second.text
    assert_same(workspace, undisturbed)


@pytest.mark.slow
def test_a_dvc_repro_that_is_killed(undisturbed: Workspace, tmp_path: Path) -> None:
    """By each signal in turn: the command that DVC started ends with it, and `dvc repro` resumes."""
    workspace, draw = undisturbed.untrained(tmp_path / "w"), random.Random("dvc")
    workspace.repository()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with training(workspace, "dvc", "repro", "train@tiny") as watched:
            under_way(workspace, watched)
            time.sleep(draw.uniform(0.0, 0.5))
            if number == signal.SIGINT:  # as a terminal sends it: to the whole foreground group
                os.killpg(watched.process.pid, number)
            else:
                os.kill(watched.process.pid, number)
            assert watched.process.wait(60) != 0
            assert_no_process_trained_on(workspace)
    workspace.run("dvc", "repro", "train@tiny")
    assert_same(workspace, undisturbed)
