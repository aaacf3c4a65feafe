"""A Ray on this machine whose workers are suspended, or whose servers are killed: every run finishes, none fails."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.factories.processes import TWO_RUNS, Watched, assert_same, servers, training, under_way
from tests.factories.workspace import TRAIN, Workspace

pytestmark = pytest.mark.slow
FOUND_S = 60.0  # within which a suspended worker must be found


@pytest.fixture
def watched(undisturbed: Workspace, tmp_path: Path) -> Iterator[tuple[Workspace, Watched]]:
    workspace = connecting(undisturbed, tmp_path / "w", retries=0)
    with training(workspace) as started:
        yield workspace, started


def connecting(undisturbed: Workspace, folder: Path, *, retries: int) -> Workspace:
    """A workspace whose driver says when it is connected."""
    workspace = undisturbed.untrained(folder)
    workspace.configure(TWO_RUNS | {"tiny.resources.retries": retries})
    connected = '        print("connected", flush=True)\n        yield cluster\n'
    workspace.edit("pipeline/cluster/connect.py", ("        yield cluster\n", connected))
    return workspace


def process(watched: Watched, name: str) -> psutil.Process:
    """The first process below the driver with that name, as soon as there is one."""
    found: list[psutil.Process] = watched.wait_until(lambda: servers(watched.process.pid, name))
    return found[0]


def assert_recovered(workspace: Workspace, watched: Watched, undisturbed: Workspace) -> None:
    assert watched.end() == 0, watched.text
    assert ": failed: " not in watched.text
    assert not (workspace.folder / "runs/tiny/failed.json").exists()
    assert_same(workspace, undisturbed)


@pytest.mark.parametrize("name", ["raylet", "gcs_server", "agent"])
def test_a_server_of_ray_that_is_killed_in_the_first_ten_seconds(
    name: str, watched: tuple[Workspace, Watched], undisturbed: Workspace
) -> None:
    """The death of an agent takes the raylet along. No retry is counted, there is none.

    The seconds are counted from when the driver is connected: Ray itself ends a process that connects to a raylet that
    dies at that moment.
    """
    workspace, driver = watched
    driver.wait_for_line("connected")
    found = process(driver, name)
    time.sleep(random.Random(name).uniform(0.0, 8.0))
    found.kill()
    assert_recovered(workspace, driver, undisturbed)
    if name != "agent":
        assert driver.text.count("starts Ray again") == 1


def test_a_worker_that_is_suspended_before_its_first_task(undisturbed: Workspace, tmp_path: Path) -> None:
    """All workers that are up when the driver is connected: Ray gives them tasks, which they never start."""
    workspace = connecting(undisturbed, tmp_path / "w", retries=1)
    with training(workspace) as driver:
        driver.wait_for_line("connected")
        process(driver, "ray::IDLE")
        for worker in servers(driver.process.pid, "ray::IDLE"):
            worker.suspend()
        assert_recovered(workspace, driver, undisturbed)


def test_a_worker_that_is_suspended_while_ray_starts(undisturbed: Workspace, tmp_path: Path) -> None:
    """Ray then waits indefinitely: the command ends within a bound, and says where; the same command resumes."""
    workspace = undisturbed.untrained(tmp_path / "w")
    workspace.edit("pipeline/cluster/connect.py", ("START_S = 120.0", "START_S = 30.0"))
    with training(workspace) as driver:
        process(driver, "default_worker.py").suspend()
        code = driver.end()
    assert (code == 1 and "Timeout (0:00:30)!" in driver.text) or code == 0, driver.text
    assert workspace.run(*TRAIN)
    assert_same(workspace, undisturbed)


def test_a_worker_that_is_suspended_in_mid_run(undisturbed: Workspace, tmp_path: Path) -> None:
    """It is found and killed within a minute; the run that may be lost once resumes."""
    workspace = undisturbed.untrained(tmp_path / "w")
    workspace.configure(TWO_RUNS | {"tiny.resources.retries": 1})
    with training(workspace) as driver:
        attempt = under_way(workspace, driver)
        attempt.signal(signal.SIGSTOP)
        suspended = time.monotonic()
        line = driver.wait_for_line("gave no sign of life")
        assert time.monotonic() - suspended < FOUND_S
        assert f"its worker (process {attempt.holder.pid})" in line
        driver.wait_for_line("0 retries left")
        assert not psutil.pid_exists(attempt.holder.pid) or not os.path.exists(f"/proc/{attempt.holder.pid}/exe")
        assert_recovered(workspace, driver, undisturbed)
